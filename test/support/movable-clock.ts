import { readFileSync } from 'node:fs';

// For `node --import`: a wall clock that is moved while the program runs. On SIGUSR2 the milliseconds to move it by are read from the file that MOVED_CLOCK
// names. Monotonic time goes on, as it does when an administrator or NTP sets the clock of a machine.
const RealDate = Date;
let movedMs = 0;
const now = () => RealDate.now() + movedMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, given: unknown[], newTarget) =>
    Reflect.construct(target, given.length === 0 ? [now()] : given, newTarget),
  get: (target, property, receiver) => (property === 'now' ? now : Reflect.get(target, property, receiver)),
});
process.on('SIGUSR2', () => {
  movedMs = Number(readFileSync(process.env.MOVED_CLOCK ?? '', 'utf8'));
  console.error(`clock moved by ${movedMs} ms`);
});
