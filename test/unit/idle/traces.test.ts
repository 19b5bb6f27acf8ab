import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { scanHeaders } from '../../../src/router/forward/index.ts';
import { createFrameTracker } from '../../../src/router/forward/websocket-frames.ts';
import { busyLease, busyMs } from '../../../src/router/table/busy-lease.ts';
import { type AsleepRules, asleepRules, type Route } from '../../../src/router/table/index.ts';
import { createActivityTracker } from '../../../src/router/wake/idle/activity.ts';
import { isHeartbeat } from '../../../src/router/wake/idle/heartbeat.ts';
import { judgeIdle } from '../../../src/router/wake/idle/verdict.ts';
import { createIntentReader, withDefaults } from '../../../src/router/wake/intent.ts';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
/** The idle timeout of all traces. */
const TIMEOUT_SECONDS = 10 * MINUTE;
/** CPU from which on its use counts. */
const CPU_FLOOR_MILLICORES = 100;
const BROWSER = ['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0 Safari/537.36'];
const intents = createIntentReader(withDefaults({ unfurlers: ['default'], monitors: ['default'] }));

/** What happens to one sandbox, second by second, through the very parts that the proxy uses. */
interface Sandbox {
  /** A request that is answered after so many seconds. */
  request(atSecond: number, answeredAfterSeconds?: number, method?: string, path?: string, headers?: string[]): void;
  /** A request whose answer streams: its head comes at once, then these chunks. */
  stream(atSecond: number, chunks: [atSecond: number, text: string][], events?: boolean): void;
  /** A WebSocket that gets these frames, from either side. */
  webSocket(frames: [atSecond: number, bytes: Buffer][], headers?: string[]): void;
  /** The code inside takes a lease, or gives it back with 0. */
  lease(atSecond: number, seconds: number): void;
  /** The engine or the metrics API says that it used so much CPU of late, in thousandths. */
  cpu(atSecond: number, millicores: number): void;
  /** Another router reports use. */
  reported(atSecond: number): void;
  rules(wakeOn: string | undefined, answers?: string): void;
}

const FRAME = {
  text: Buffer.from([0x81, 0x02, 0x68, 0x69]),
  binary: Buffer.from([0x82, 0x01, 0x00]),
  continuation: Buffer.from([0x80, 0x01, 0x00]),
  ping: Buffer.from([0x89, 0x00]),
  pong: Buffer.from([0x8a, 0x00]),
  close: Buffer.from([0x88, 0x02, 0x03, 0xe8]),
  maskedText: Buffer.from([0x81, 0x81, 1, 2, 3, 4, 0x69]),
  maskedPing: Buffer.from([0x89, 0x80, 1, 2, 3, 4]),
  pingAndText: Buffer.from([0x89, 0x00, 0x81, 0x01, 0x68]),
  /** A long message, of which more comes later. */
  longText: Buffer.concat([Buffer.from([0x81, 126, 0x10, 0x00]), Buffer.alloc(96)]),
  more: Buffer.alloc(4000),
};

/** The second at which a sandbox that started at 0 would be paused; undefined if it is awake after three hours. */
function pausedAt(trace: (sandbox: Sandbox) => void): number | undefined {
  const happenings: { atSecond: number; run: (nowMs: number) => void }[] = [];
  const at = (atSecond: number, run: (nowMs: number) => void) => happenings.push({ atSecond, run });
  const tracker = createActivityTracker();
  const route = {
    activity: { inFlight: 0, quiet: 0, lastMs: 0, heardMs: 0, cpuMs: 0, reportedMs: 0, listed: false },
  } as unknown as Route;
  let lease: ReturnType<typeof busyLease>;
  let rules: AsleepRules | undefined;
  const begin = (method: string, path: string, headers: string[], nowMs: number) => {
    const use = intents.read(method, path, scanHeaders(headers), rules) === 'use';
    if (use) tracker.begin(route, nowMs);
    else tracker.beginQuiet(route);
    return use;
  };
  const end = (use: boolean, nowMs: number) => (use ? tracker.end(route, nowMs) : tracker.endQuiet(route));
  trace({
    request: (atSecond, answeredAfterSeconds = 0, method = 'GET', path = '/', headers = BROWSER) =>
      at(atSecond, (nowMs) => {
        const use = begin(method, path, headers, nowMs);
        at(atSecond + answeredAfterSeconds, (laterMs) => end(use, laterMs));
      }),
    stream: (atSecond, chunks, events = true) =>
      at(atSecond, (nowMs) => {
        end(begin('GET', '/', BROWSER, nowMs), nowMs);
        for (const [second, text] of chunks)
          at(second, (laterMs) =>
            events && isHeartbeat(Buffer.from(text)) ? undefined : tracker.touch(route, laterMs),
          );
      }),
    webSocket: (frames, headers = BROWSER) => {
      const follow = createFrameTracker();
      assert.ok(headers.length > 0);
      for (const [second, bytes] of frames)
        at(second, (nowMs) => (follow.advance(bytes) ? tracker.touch(route, nowMs) : undefined));
    },
    lease: (atSecond, seconds) =>
      at(atSecond, (nowMs) => {
        lease = busyLease(new Date(nowMs + seconds * 1000).toISOString(), 'training');
      }),
    cpu: (atSecond, millicores) =>
      at(atSecond, (nowMs) => {
        if (millicores >= CPU_FLOOR_MILLICORES) route.activity.cpuMs = nowMs;
      }),
    reported: (atSecond) =>
      at(atSecond, (nowMs) => {
        route.activity.heardMs = nowMs;
      }),
    rules: (wakeOn, answers) => {
      rules = asleepRules(wakeOn, answers);
    },
  });

  for (let second = 1; second <= 3 * HOUR; second++) {
    // The clock does not start at 0: that stands for never.
    const nowMs = (second + 1000) * 1000;
    for (let index = 0; index < happenings.length; index++) {
      const { atSecond, run } = happenings[index] as (typeof happenings)[number];
      if (atSecond > second) continue;
      happenings.splice(index--, 1);
      run(nowMs);
    }
    tracker.take(nowMs);
    const { pause } = judgeIdle({
      nowMs,
      idleTimeoutMs: TIMEOUT_SECONDS * 1000,
      running: true,
      inFlight: route.activity.inFlight,
      busyMs: busyMs(lease, nowMs),
      seenMs: route.activity.lastMs,
      heardMs: route.activity.heardMs,
      cpuMs: route.activity.cpuMs,
      knownMs: 1,
      stampedIdleMs: second * 1000,
      reportDelayMs: 0,
    });
    if (pause) return second;
  }
  return undefined;
}

/** Every so many seconds, from the first on, to the end. */
const every = (seconds: number, last = 3 * HOUR) =>
  Array.from({ length: Math.floor(last / seconds) }, (_, index) => (index + 1) * seconds);
function repeat(seconds: number, run: (atSecond: number) => void, last = 3 * HOUR): void {
  for (const atSecond of every(seconds, last)) run(atSecond);
}
const agents = (name: string) => ['User-Agent', name];

const AWAKE = undefined;
const IDLE = TIMEOUT_SECONDS;
const traces: [what: string, pausedAt: number | undefined, trace: (sandbox: Sandbox) => void][] = [
  ['nobody ever calls', IDLE, () => {}],
  ['one call, and no more', 5 * MINUTE + IDLE, ({ request }) => request(5 * MINUTE)],
  ['a call every nine minutes', AWAKE, ({ request }) => repeat(540, (at) => request(at))],
  ['a call every eleven minutes', IDLE, ({ request }) => repeat(660, (at) => request(at))],
  [
    'an agent that thinks for eight minutes between commands',
    AWAKE,
    ({ request }) => repeat(480, (at) => request(at, 5, 'POST', '/execute', agents('python-requests/2.32'))),
  ],
  ['a tab that was left open, without any request', MINUTE + IDLE, ({ request }) => request(MINUTE)],
  ['a tab that polls every minute', AWAKE, ({ request }) => repeat(60, (at) => request(at, 0, 'GET', '/api/status'))],
  [
    'a tab that asks for its favicon now and then',
    IDLE,
    ({ request }) => repeat(60, (at) => request(at, 0, 'GET', '/favicon.ico')),
  ],
  [
    'a monitor every 30 s',
    IDLE,
    ({ request }) => repeat(30, (at) => request(at, 0, 'GET', '/', agents('UptimeRobot/2.0'))),
  ],
  [
    'a monitor every 30 s that the sandbox lets count',
    AWAKE,
    ({ request, rules }) => {
      rules('monitor');
      repeat(30, (at) => request(at, 0, 'GET', '/', agents('UptimeRobot/2.0')));
    },
  ],
  [
    'a monitor that POSTs every 30 s',
    IDLE,
    ({ request }) => repeat(30, (at) => request(at, 0, 'POST', '/', agents('Pingdom'))),
  ],
  [
    'a monitor that waits a minute for each answer, all the time',
    3 * MINUTE + IDLE,
    ({ request }) => {
      request(3 * MINUTE);
      repeat(61, (at) => request(at, 1, 'GET', '/', agents('Pingdom')));
    },
  ],
  ['HEAD every 30 s', IDLE, ({ request }) => repeat(30, (at) => request(at, 0, 'HEAD'))],
  [
    'HEAD every 30 s that the sandbox lets count',
    AWAKE,
    ({ request, rules }) => {
      rules('head');
      repeat(30, (at) => request(at, 0, 'HEAD'));
    },
  ],
  [
    'a health check of unknown origin on a path with a fixed answer',
    IDLE,
    ({ request, rules }) => {
      rules(undefined, '{"/healthz":{}}');
      repeat(10, (at) => request(at, 0, 'GET', '/healthz', agents('curl/8')));
    },
  ],
  [
    'the same where no answer is fixed',
    AWAKE,
    ({ request }) => repeat(10, (at) => request(at, 0, 'GET', '/healthz', agents('curl/8'))),
  ],
  [
    'a chat in which the link is shown again and again',
    IDLE,
    ({ request }) => repeat(45, (at) => request(at, 0, 'GET', '/', agents('Slackbot-LinkExpanding 1.0'))),
  ],
  ['a crawler', IDLE + 1, ({ request }) => repeat(20, (at) => request(at, 1, 'GET', '/page', agents('Googlebot/2.1')))],
  [
    'a browser that prefetches',
    IDLE,
    ({ request }) => repeat(60, (at) => request(at, 0, 'GET', '/', ['Sec-Purpose', 'prefetch', ...BROWSER])),
  ],
  [
    'preflights of a web app whose requests never come',
    IDLE,
    ({ request }) =>
      repeat(60, (at) => request(at, 0, 'OPTIONS', '/', ['Access-Control-Request-Method', 'PUT', ...BROWSER])),
  ],
  [
    'a web app with preflights and requests',
    AWAKE,
    ({ request }) =>
      repeat(60, (at) => {
        request(at, 0, 'OPTIONS', '/', ['Access-Control-Request-Method', 'PUT', ...BROWSER]);
        request(at, 0, 'PUT');
      }),
  ],
  [
    'a command that runs for an hour while its caller waits',
    HOUR + IDLE,
    ({ request }) => request(0, HOUR, 'POST', '/execute', agents('python-requests/2.32')),
  ],
  [
    'a caller who gives up after two minutes',
    2 * MINUTE + IDLE,
    ({ request }) => request(0, 2 * MINUTE, 'POST', '/execute'),
  ],
  [
    'an upload that trickles for 40 minutes',
    40 * MINUTE + IDLE,
    ({ request }) => request(0, 40 * MINUTE, 'PUT', '/upload'),
  ],
  [
    'a download that moves for 30 minutes',
    30 * MINUTE + IDLE,
    ({ stream }) =>
      stream(
        0,
        every(5, 30 * MINUTE).map((at) => [at, 'x'.repeat(100)]),
        false,
      ),
  ],
  ['a download whose reader has stopped', MINUTE + IDLE, ({ stream }) => stream(0, [[MINUTE, 'x']], false)],
  [
    'SSE with events every minute',
    AWAKE,
    ({ stream }) =>
      stream(
        0,
        every(60).map((at) => [at, 'data: {}\n\n']),
      ),
  ],
  [
    'SSE with heartbeats alone',
    IDLE + 1,
    ({ stream }) =>
      stream(
        0,
        every(15).map((at) => [at, ': keep-alive\n\n']),
      ),
  ],
  [
    'SSE with blank lines alone',
    IDLE + 1,
    ({ stream }) =>
      stream(
        0,
        every(15).map((at) => [at, '\r\n']),
      ),
  ],
  [
    'SSE with heartbeats, and an event after an hour',
    IDLE + 1,
    ({ stream }) => stream(0, [...every(15).map((at): [number, string] => [at, ':\n']), [HOUR, 'data: late\n\n']]),
  ],
  [
    'SSE with heartbeats and an event in one piece',
    AWAKE,
    ({ stream }) =>
      stream(
        0,
        every(60).map((at) => [at, ':\n\ndata: {}\n\n']),
      ),
  ],
  [
    'another stream whose lines begin with a colon',
    AWAKE,
    ({ stream }) =>
      stream(
        0,
        every(60).map((at) => [at, ': work\n']),
        false,
      ),
  ],
  [
    'an open WebSocket without a word',
    MINUTE + IDLE,
    ({ request, webSocket }) => {
      request(MINUTE);
      webSocket([]);
    },
  ],
  [
    'a WebSocket with pings and pongs',
    IDLE,
    ({ webSocket }) =>
      webSocket(
        every(20).flatMap((at): [number, Buffer][] => [
          [at, FRAME.maskedPing],
          [at, FRAME.pong],
          [at, FRAME.ping],
        ]),
      ),
  ],
  [
    'a WebSocket with a message every five minutes',
    AWAKE,
    ({ webSocket }) => webSocket(every(300).map((at) => [at, FRAME.text])),
  ],
  [
    'a WebSocket on which a client types',
    AWAKE,
    ({ webSocket }) => webSocket(every(300).map((at) => [at, FRAME.maskedText])),
  ],
  [
    'a WebSocket with pings and messages in one piece',
    AWAKE,
    ({ webSocket }) => webSocket(every(300).map((at) => [at, FRAME.pingAndText])),
  ],
  [
    'a long message over a slow line',
    4000 + IDLE,
    ({ webSocket }) =>
      webSocket([
        [1, FRAME.longText],
        ...every(500, 4000).map((at): [number, Buffer] => [at, FRAME.more.subarray(at - 500, at)]),
      ]),
  ],
  [
    'a WebSocket that is closed',
    2 * MINUTE + IDLE,
    ({ webSocket }) =>
      webSocket([
        [2 * MINUTE, FRAME.binary],
        [9 * MINUTE, FRAME.close],
      ]),
  ],
  ['a long silent computation without a lease', MINUTE + IDLE, ({ request }) => request(MINUTE)],
  [
    'a long silent computation with a lease of an hour',
    HOUR + MINUTE,
    ({ request, lease }) => {
      request(MINUTE);
      lease(MINUTE, HOUR);
    },
  ],
  [
    'a lease that is renewed every half hour',
    AWAKE,
    ({ lease }) => {
      lease(MINUTE, HOUR);
      repeat(1800, (at) => lease(at, HOUR));
    },
  ],
  [
    'a lease that is given back early',
    20 * MINUTE,
    ({ lease }) => {
      lease(MINUTE, HOUR);
      lease(20 * MINUTE, 0);
    },
  ],
  [
    'a lease that ends while somebody calls',
    10 * MINUTE + IDLE,
    ({ request, lease }) => {
      lease(MINUTE, 10 * MINUTE);
      request(10 * MINUTE);
    },
  ],
  ['a lease of a week, which none may have', IDLE, ({ lease }) => lease(MINUTE, 7 * 24 * HOUR)],
  ['a long silent computation that uses a CPU', AWAKE, ({ cpu }) => repeat(15, (at) => cpu(at, 950))],
  [
    'a computation of an hour that nobody waits for',
    HOUR + IDLE,
    ({ request, cpu }) => {
      request(MINUTE);
      repeat(15, (at) => cpu(at, 500), HOUR);
    },
  ],
  ['the CPU use of a program that only waits', IDLE, ({ cpu }) => repeat(15, (at) => cpu(at, 12))],
  ['CPU use that rises over the floor every nine minutes', AWAKE, ({ cpu }) => repeat(540, (at) => cpu(at, 100))],
  ['CPU use that rises over the floor every eleven minutes', IDLE, ({ cpu }) => repeat(660, (at) => cpu(at, 100))],
  [
    'a computation that waits for its GPU, with a lease',
    2 * HOUR,
    ({ lease, cpu }) => {
      lease(MINUTE, HOUR);
      lease(HOUR, HOUR);
      repeat(15, (at) => cpu(at, 20));
    },
  ],
  ['use through another router alone', AWAKE, ({ reported }) => repeat(300, reported)],
  ['use through another router that ends', 30 * MINUTE + IDLE, ({ reported }) => repeat(300, reported, 30 * MINUTE)],
];

describe('a sandbox with an idle timeout of ten minutes', () => {
  assert.ok(traces.length >= 40);
  for (const [what, expected, trace] of traces)
    it(`with ${what} ${expected === undefined ? 'stays awake' : `is paused after ${Math.round(expected / 6) / 10} min`}`, () =>
      assert.equal(pausedAt(trace), expected));
});
