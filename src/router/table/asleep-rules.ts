/** Why somebody calls, where it is not to use the sandbox. Each can be told to wake it after all, by its name in `sandbox-router/wake-on`. */
export const QUIET_INTENTS = [
  'prefetch',
  'unfurl',
  'monitor',
  'preflight',
  'head',
  'favicon',
  'robots',
  'health',
] as const;

/** One of {@link QUIET_INTENTS}. */
export type QuietIntent = (typeof QUIET_INTENTS)[number];

/** What a sandbox answers on one path while it is asleep. */
export interface FixedAnswer {
  status: number;
  contentType: string;
  body: string;
}

/** What the owner of a sandbox says of those who call while it is asleep. Plain data: records go from process to process. */
export interface AsleepRules {
  /** Quiet intents that wake it, and count as use, like any other request. */
  wakeOn: readonly QuietIntent[];
  /** By path without query. */
  answers: Readonly<Record<string, FixedAnswer>>;
  /** What of the annotations could not be understood; that part is not in force. */
  fault: string | undefined;
}

const MOST_ANSWERS = 16;
const MOST_ANNOTATION_CHARACTERS = 32_768;
const MOST_BODY_CHARACTERS = 8192;
const CONTENT_TYPE = /^[\w.+-]+\/[\w.+-]+(?:; ?[\w-]+=[\w"-]+)*$/;

/**
 * Rules of the annotations `sandbox-router/wake-on` (names of intents with commas, or `all`) and `sandbox-router/asleep-answer` (JSON: path to `status`,
 * `contentType`, `body`); undefined where there are none.
 */
export function asleepRules(wakeOn: string | undefined, answers: string | undefined): AsleepRules | undefined {
  if (wakeOn === undefined && answers === undefined) return undefined;
  const faults: string[] = [];
  const intents = parseWakeOn(wakeOn ?? '', faults);
  let fixed: AsleepRules['answers'] = {};
  try {
    if (answers !== undefined) fixed = parseAnswers(answers);
  } catch (error) {
    faults.push(`sandbox-router/asleep-answer ${(error as Error).message}`);
  }
  return { wakeOn: intents, answers: fixed, fault: faults.length === 0 ? undefined : faults.join('; ') };
}

function parseWakeOn(text: string, faults: string[]): readonly QuietIntent[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  const known = new Set<QuietIntent>();
  for (const name of names) {
    const intent = QUIET_INTENTS.find((candidate) => candidate === name);
    if (intent !== undefined) known.add(intent);
    else if (name === 'all') for (const each of QUIET_INTENTS) known.add(each);
    else
      faults.push(`sandbox-router/wake-on names ${JSON.stringify(name)}, which is none of ${QUIET_INTENTS.join(', ')}`);
  }
  return [...known];
}

/** @throws Error that says what is wrong */
function parseAnswers(text: string): AsleepRules['answers'] {
  if (text.length > MOST_ANNOTATION_CHARACTERS)
    throw new Error(`has more than ${MOST_ANNOTATION_CHARACTERS} characters`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Error('is not JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new Error('must be a JSON object of paths');
  const entries = Object.entries(parsed);
  if (entries.length > MOST_ANSWERS) throw new Error(`has more than ${MOST_ANSWERS} paths`);
  return Object.fromEntries(entries.map(([path, raw]) => [path, parseAnswer(path, raw)]));
}

function parseAnswer(path: string, raw: unknown): FixedAnswer {
  if (!path.startsWith('/') || path.includes('?'))
    throw new Error(`has the path ${JSON.stringify(path)}: it must begin with / and have no query`);
  if (typeof raw !== 'object' || raw === null) throw new Error(`of ${path} must be an object`);
  const {
    status = 200,
    contentType = 'text/plain; charset=utf-8',
    body = '',
    ...others
  } = raw as Record<string, unknown>;
  const unknown = Object.keys(others)[0];
  if (unknown !== undefined)
    throw new Error(`of ${path} has "${unknown}": only status, contentType and body are known`);
  if (!Number.isInteger(status) || (status as number) < 200 || (status as number) > 599)
    throw new Error(`of ${path} must have a status of 200 to 599`);
  if (typeof contentType !== 'string' || !CONTENT_TYPE.test(contentType))
    throw new Error(`of ${path} must have a contentType such as application/json`);
  if (typeof body !== 'string' || body.length > MOST_BODY_CHARACTERS)
    throw new Error(`of ${path} must have a body that is a text of at most ${MOST_BODY_CHARACTERS} characters`);
  return { status: status as number, contentType, body };
}
