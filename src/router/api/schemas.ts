/** JSON Schemas of `/-/v1`: what requests are checked against, and what the OpenAPI document is made of. Nothing else says what the API takes. */

import { LEDGER_TYPES } from '../ledger/index.ts';

/** A JSON Schema. */
export type JsonSchema = Readonly<Record<string, unknown>>;

const text = (description: string, more: object = {}): JsonSchema => ({ type: 'string', description, ...more });
const texts = (description: string): JsonSchema => ({
  type: 'object',
  description,
  additionalProperties: { type: 'string' },
  maxProperties: 64,
});
const object = (
  properties: Record<string, JsonSchema>,
  required: readonly string[] = [],
  more: object = {},
): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...(required.length > 0 ? { required } : {}),
  ...more,
});
/** An answer: what is sent is what the schema says, and all of it. */
const answer = (description: string, properties: Record<string, JsonSchema>): JsonSchema => ({
  type: 'object',
  description,
  properties,
  required: Object.keys(properties),
});
const orNull = (schema: JsonSchema): JsonSchema => ({ ...schema, nullable: true });

/** RFC 1123 label: names of sandboxes, claims, pools and namespaces. */
const label = (description: string): JsonSchema =>
  text(description, { pattern: '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$' });
const duration = (description: string): JsonSchema =>
  text(description, { pattern: '^(\\d+(ms|s|m|h|d))+$', maxLength: 32 });
const time = (description: string): JsonSchema => text(description, { format: 'date-time' });

/** `:name` of a sandbox or a claim. */
export const nameParams = object({ name: label('Its name.') }, ['name']);
/** `?namespace=`. */
export const namespaceQuery = object({ namespace: label("Its namespace; the tenant's default without it.") });

/** `?namespace=` of lists. */
export const listQuery = object({ namespace: label('Of this namespace only; without it of all that the caller has.') });

/** A refusal (RFC 9457). */
export const problem = answer('Why not.', {
  type: text('urn:sandbox-router:problem: and the code.'),
  title: text('The code in words.'),
  status: { type: 'integer' },
  detail: text('What is wrong, and what to do.'),
  code: text('Stable name of the reason.'),
  requestId: text('Found again in the logs.'),
});

/** A sandbox. */
export const sandboxView = answer('A sandbox.', {
  name: text('Its name.'),
  namespace: text('Its namespace.'),
  state: text('What it does.', { enum: ['running', 'starting', 'pausing', 'paused', 'finished'] }),
  reason: text('Reason of its Ready condition.'),
  message: text('Message of its Ready condition.'),
  port: { type: 'integer', description: 'Port that its URL reaches.' },
  path: text('Its URL in path form, relative to this router.'),
  isolated: { type: 'boolean', description: 'False where its runtime isolates nothing.' },
  busy: orNull(
    answer('Its busy lease; null without one.', { until: text('When it ends.'), why: text('What it is for.') }),
  ),
  sleepingSockets: {
    type: 'integer',
    minimum: 0,
    description: 'WebSockets and streams to this router that sleep with it.',
  },
});
/** Several sandboxes. */
export const sandboxList = answer('Sandboxes.', { items: { type: 'array', items: sandboxView } });
/** A sandbox and where it is now. */
export const resolution = answer('Where a sandbox is.', {
  ...(sandboxView.properties as Record<string, JsonSchema>),
  address: orNull(text('Address of its pod; null while it has none that may be sent requests.')),
  podUid: orNull(text('UID of that pod.')),
  suspectPorts: {
    type: 'array',
    items: { type: 'integer' },
    description: 'Ports that refused connections since the pod was last heard of.',
  },
});

/** One entry of a sandbox's ledger. */
const ledgerEntry: JsonSchema = {
  type: 'object',
  required: ['id', 'summary', 'type', 'firstAt', 'lastAt', 'count', 'reporter'],
  properties: {
    id: text('Name of the Event that says so.'),
    summary: text('All of it in one line.'),
    type: text('What became of the sandbox.', { enum: LEDGER_TYPES }),
    firstAt: text('When it came about first.'),
    lastAt: text('When it came about last.'),
    count: { type: 'integer', description: 'How often.' },
    reporter: text('Router, controller or command that says so.'),
    cause: {
      type: 'object',
      description: 'Who or what it was. Queries, headers and bodies are in no ledger.',
      properties: {
        via: text('How.', { enum: ['request', 'api', 'command', 'rule'] }),
        credential: text('Public name of the credential.'),
        method: text('Method of the request.'),
        path: text('Its path, without query.'),
        intent: text('Why it came.'),
        rule: text('The rule or the command.'),
      },
    },
    code: text('Code of the problem, or reason of the Event.'),
    detail: text('In words.'),
    durationMs: { type: 'number', description: 'How long it took.' },
    phasesMs: { type: 'object', additionalProperties: { type: 'number' }, description: 'Phases of a wake.' },
    sources: {
      type: 'array',
      description: 'What kept it awake, the most important first.',
      items: {
        type: 'object',
        properties: {
          source: text('What.'),
          seconds: { type: 'number', description: 'In how many seconds it was first.' },
        },
      },
    },
  },
};
/** The ledger of a sandbox. */
export const ledger = answer('What became of a sandbox, the newest first.', {
  items: { type: 'array', items: ledgerEntry },
});

/** Body of `POST /-/v1/explain`. */
export const explainBody = object(
  { url: text('URL of a request.'), token: text("Whose request: the caller's own without it.") },
  ['url'],
);
/** Answer of `POST /-/v1/explain`. */
export const explanation = answer('What would become of the request.', {
  allowed: { type: 'boolean' },
  steps: {
    type: 'array',
    items: {
      type: 'object',
      properties: {
        step: text('Station of its journey.'),
        ok: { type: 'boolean' },
        detail: text('What was found there.'),
        code: text('Code of the refusal.'),
      },
      required: ['step', 'ok', 'detail'],
    },
  },
});

/** Body of `POST /-/v1/claims`. */
export const claimBody = object(
  {
    pool: label('SandboxWarmPool to take it from.'),
    template: label('SandboxTemplate, of which some SandboxWarmPool must be; in place of pool.'),
    namespace: label("Where; the tenant's default namespace without it."),
    name: label('Name of the claim; made up without it.'),
    env: {
      type: 'array',
      maxItems: 256,
      description: 'Variables; they make it start cold, and its template must allow them.',
      items: object(
        {
          name: text('Name of the variable.', { minLength: 1, maxLength: 256 }),
          value: text('Its value.', { maxLength: 65_536 }),
          containerName: label('Container; the first without it.'),
        },
        ['name', 'value'],
      ),
    },
    labels: texts('More labels of the Pod.'),
    annotations: texts('More annotations of the Pod.'),
    lifetime: duration('When it ends, from now on, such as 30m.'),
    shutdownTime: time('When it ends; in place of lifetime.'),
    shutdownPolicy: text('What then becomes of the claim.', { enum: ['Delete', 'Retain'] }),
    wait: duration('How long to wait until it is ready, 2m at most; without it the answer comes at once.'),
  },
  [],
  { oneOf: [{ required: ['pool'] }, { required: ['template'] }], not: { required: ['lifetime', 'shutdownTime'] } },
);
/** Body of `POST /-/v1/claims/:name/extend`. */
export const extendBody = object(
  { lifetime: duration('When it ends, from now on.'), shutdownTime: time('When it ends.') },
  [],
  { oneOf: [{ required: ['lifetime'] }, { required: ['shutdownTime'] }] },
);
/** A claim. */
export const claimView = answer('A claim and its sandbox.', {
  name: text('Name of the claim.'),
  namespace: text('Its namespace.'),
  pool: text('SandboxWarmPool that it is from.'),
  sandbox: orNull(text('Name of its sandbox; null until it has one.')),
  ready: { type: 'boolean', description: 'Whether requests may be sent.' },
  reason: text('Reason of its Ready condition.'),
  message: text('Message of its Ready condition.'),
  shutdownTime: orNull(text('When it ends.')),
  createdAt: text('When it was made.'),
  urls: orNull(
    answer('Where its sandbox is reached; null until it has one.', {
      path: text('In path form: for agents and APIs.'),
      host: orNull(text('An origin of its own, for browsers; null without a base domain.')),
    }),
  ),
});
/** Several claims. */
export const claimList = answer('Claims.', { items: { type: 'array', items: claimView } });

/** A snapshot. */
export const snapshotView = answer('A snapshot of a sandbox.', {
  name: text('Its name.'),
  ready: { type: 'boolean', description: 'Whether it can be restored.' },
  createdAt: text('When it was taken.'),
});
/** Several snapshots. */
export const snapshotList = answer('Snapshots, the newest first.', { items: { type: 'array', items: snapshotView } });
/** Body of `POST /-/v1/sandboxes/:name/restore`. */
export const restoreBody = object({ snapshot: text('Name of the snapshot.', { minLength: 1, maxLength: 253 }) }, [
  'snapshot',
]);
/** Headers of `POST /-/v1/claims`. */
export const idempotencyHeaders: JsonSchema = {
  type: 'object',
  properties: {
    'idempotency-key': text('The same key and body never claim twice, whichever replica is asked.', {
      minLength: 1,
      maxLength: 255,
      pattern: '^[\\x21-\\x7e]+$',
    }),
  },
};
/** `?namespace=`, and where to go on, of `/-/v1/events`. */
export const eventsQuery = object({
  ...(listQuery.properties as Record<string, JsonSchema>),
  lastEventId: text('As the header Last-Event-ID, for clients that can not send one.', { maxLength: 100 }),
});

/** `?namespace=`, and where to go on, of a sandbox's ledger. */
export const ledgerQuery = object({
  ...(namespaceQuery.properties as Record<string, JsonSchema>),
  lastEventId: text('As the header Last-Event-ID, for clients that can not send one.', { maxLength: 400 }),
});

/** Body of `POST /-/v1/links`. */
export const linkBody = object(
  {
    sandbox: label('Sandbox that it is for.'),
    namespace: label("Its namespace; the tenant's default without it."),
    path: text('Where the link leads; / without it.', { maxLength: 1024 }),
    pathPrefix: text('The only part of the sandbox that it reaches.', { maxLength: 1024 }),
    port: { type: 'integer', minimum: 1, maximum: 65_535, description: 'The only port that it reaches.' },
    lifetime: duration('When it ends, from now on; 1h without it, 30d at most.'),
    methods: {
      type: 'array',
      minItems: 1,
      maxItems: 10,
      items: text('A method, or UPGRADE for WebSockets.', { pattern: '^[A-Z]{1,20}$' }),
      description: 'The only methods that it allows.',
    },
    oneUse: { type: 'boolean', description: 'Whether it can be opened once only.' },
    mayWake: { type: 'boolean', description: 'Whether it may start a paused sandbox; true without it.' },
  },
  ['sandbox'],
);
/** Answer of `POST /-/v1/links`. */
export const linkView = answer('A link. Whoever has it gets in: treat it as a password.', {
  url: text('To be opened in a browser.'),
  path: text('The same below any other name of this router.'),
  sandbox: text('Sandbox that it is for.'),
  namespace: text('Its namespace.'),
  expiresAt: text('When it ends.'),
});
/** Body of `POST /-/v1/tokens`. */
export const tokenBody = object(
  {
    sandbox: label('Sandbox that it is for.'),
    namespace: label("Its namespace; the tenant's default without it."),
    lifetime: duration('When it ends, from now on; 1h without it, 30d at most.'),
  },
  ['sandbox'],
);
/** Answer of `POST /-/v1/tokens`. */
export const tokenView = answer('A token that reaches and wakes one sandbox.', {
  token: text('Sent as Authorization: Bearer.'),
  sandbox: text('Sandbox that it is for.'),
  namespace: text('Its namespace.'),
  expiresAt: text('When it ends.'),
});
