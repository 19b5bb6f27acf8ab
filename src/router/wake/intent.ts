import type { AsleepRules, QuietIntent } from '../table/index.ts';

/** Why a request comes: `use` wakes a sandbox and keeps it awake, a quiet intent does neither. */
export type Intent = 'use' | QuietIntent;

/** What of a request's headers tells its intent. */
export interface IntentSigns {
  /** `Sec-Purpose`, `Purpose`, `X-Purpose` or `X-Moz`. */
  purpose: string | undefined;
  userAgent: string | undefined;
  /** `Access-Control-Request-Method`: with OPTIONS that is a CORS preflight (Fetch standard, section 3.3.2). */
  corsMethod: string | undefined;
}

/** Tells the intents of requests. */
export interface IntentReader {
  /** `path` is that of the sandbox, with query. Cheap: it is asked of every request, of sandboxes that run too. */
  read(method: string, path: string, signs: IntentSigns, rules: AsleepRules | undefined): Intent;
}

/** What unfurlers of links and crawlers call themselves in `User-Agent`. */
export const UNFURLER_AGENTS: readonly string[] = [
  'Slackbot',
  'Slack-ImgProxy',
  'Twitterbot',
  'facebookexternalhit',
  'Facebot',
  'meta-externalagent',
  'LinkedInBot',
  'Discordbot',
  'TelegramBot',
  'WhatsApp/',
  'SkypeUriPreview',
  'MicrosoftPreview',
  'Mastodon/',
  'Iframely',
  'Embedly',
  'redditbot',
  'Pinterestbot',
  'vkShare',
  'notion-',
  'Googlebot',
  'Google-PageRenderer',
  'bingbot',
  'BingPreview',
  'Applebot',
  'DuckDuckBot',
  'YandexBot',
  'Baiduspider',
  'AhrefsBot',
  'SemrushBot',
];

/** What monitors and health checks call themselves. */
export const MONITOR_AGENTS: readonly string[] = [
  'UptimeRobot',
  'Pingdom',
  'StatusCake',
  'Better Uptime',
  'Better Stack',
  'Site24x7',
  'Datadog',
  'NewRelic',
  'HetrixTools',
  'updown.io',
  'Uptime-Kuma',
  'Freshping',
  'Checkly',
  'Gatus',
  'GoogleStackdriverMonitoring',
  'GoogleHC',
  'Amazon-Route53-Health-Check',
  'ELB-HealthChecker',
  'Cloudflare-Healthchecks',
  'Consul Health Check',
  'kube-probe',
  'Prometheus/',
  'Blackbox Exporter',
  'Zabbix',
  'check_http',
];

/** User agents told apart already; a client sends the same again and again. */
const MOST_REMEMBERED = 4096;
const PREFETCH = /prefetch|prerender|preview/i;

/** A reader that knows unfurlers and monitors by what their `User-Agent` contains, in any case. */
export function createIntentReader(agents: {
  unfurlers: readonly string[];
  monitors: readonly string[];
}): IntentReader {
  const unfurler = containsAny(agents.unfurlers);
  const monitor = containsAny(agents.monitors);
  const remembered = new Map<string, Intent>();

  function ofAgent(userAgent: string): Intent {
    const known = remembered.get(userAgent);
    if (known !== undefined) return known;
    const intent = monitor?.test(userAgent) ? 'monitor' : unfurler?.test(userAgent) ? 'unfurl' : 'use';
    // Whoever invents new ones all the time costs a test each, and no memory.
    if (remembered.size >= MOST_REMEMBERED) remembered.clear();
    remembered.set(userAgent, intent);
    return intent;
  }

  function quietly(
    method: string,
    path: string,
    { purpose, userAgent, corsMethod }: IntentSigns,
    rules: AsleepRules | undefined,
  ): Intent {
    if (corsMethod !== undefined && method === 'OPTIONS') return 'preflight';
    if (purpose !== undefined && PREFETCH.test(purpose)) return 'prefetch';
    const agent = userAgent === undefined ? 'use' : ofAgent(userAgent);
    if (agent !== 'use') return agent;
    if (method !== 'GET' && method !== 'HEAD') return 'use';
    if (rules !== undefined && Object.hasOwn(rules.answers, withoutQuery(path))) return 'health';
    if (method === 'HEAD') return 'head';
    if (path.length >= 11 && path.length < 64) {
      const plain = withoutQuery(path);
      if (plain === '/favicon.ico') return 'favicon';
      if (plain === '/robots.txt') return 'robots';
    }
    return 'use';
  }

  return {
    read: (method, path, signs, rules) => {
      const intent = quietly(method, path, signs, rules);
      return intent !== 'use' && rules?.wakeOn.includes(intent) === true ? 'use' : intent;
    },
  };
}

/** Lists in which `default` stands for the agents built in. */
export function withDefaults(agents: { unfurlers: readonly string[]; monitors: readonly string[] }): typeof agents {
  const fill = (texts: readonly string[], builtIn: readonly string[]) =>
    texts.flatMap((text) => (text === 'default' ? builtIn : [text]));
  return { unfurlers: fill(agents.unfurlers, UNFURLER_AGENTS), monitors: fill(agents.monitors, MONITOR_AGENTS) };
}

/** Path of a path with query. */
export function withoutQuery(path: string): string {
  const end = path.indexOf('?');
  return end < 0 ? path : path.slice(0, end);
}

function containsAny(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined;
  return new RegExp(texts.map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'), 'i');
}
