import { count, duration, textList } from './parsers.ts';
import { define, routers } from './setting.ts';

/** Settings of waking and of what waits for it. */
export const wakeSettings = {
  holdTimeoutMs: define({
    key: 'holdTimeout',
    description: 'longest time that a request is held while its sandbox wakes',
    placeholder: 'duration',
    default: 55_000,
    commands: routers,
    parse: duration,
  }),
  heldPerSandbox: define({
    key: 'heldPerSandbox',
    description: 'requests held at once for one sandbox',
    placeholder: 'count',
    default: 1000,
    commands: routers,
    parse: count,
  }),
  heldTotal: define({
    key: 'heldTotal',
    description: 'requests held at once in all',
    placeholder: 'count',
    default: 10_000,
    commands: routers,
    parse: count,
  }),
  heldBytes: define({
    key: 'heldBytes',
    description: 'memory that held requests may take in all',
    placeholder: 'bytes',
    default: 134_217_728,
    commands: routers,
    parse: count,
  }),
  sleepingPerSandbox: define({
    key: 'sleepingPerSandbox',
    description: 'connections of clients that sleep with one paused sandbox; more are closed',
    placeholder: 'count',
    default: 100,
    commands: routers,
    parse: count,
  }),
  sleepingTotal: define({
    key: 'sleepingTotal',
    description: 'connections that sleep with paused sandboxes in all',
    placeholder: 'count',
    default: 10_000,
    commands: routers,
    parse: count,
  }),
  concurrentWakes: define({
    key: 'concurrentWakes',
    description: 'wakes at once in this process; others wait in a queue that is fair between tenants',
    placeholder: 'count',
    default: (command) => (command === 'serve' ? 64 : 8),
    commands: routers,
    parse: count,
  }),
  unfurlerAgents: define<readonly string[]>({
    key: 'unfurlerAgents',
    description:
      'texts in User-Agent of link previews and crawlers, which do not wake (comma separated; "default" is those built in)',
    placeholder: 'texts',
    default: ['default'],
    commands: routers,
    parse: textList,
  }),
  monitorAgents: define<readonly string[]>({
    key: 'monitorAgents',
    description: 'the same for monitors',
    placeholder: 'texts',
    default: ['default'],
    commands: routers,
    parse: textList,
  }),
};
