import { setTimeout as delay } from 'node:timers/promises';

/** Polls until `probe` gives something other than undefined or false. @throws Error that names the condition when `timeoutMs` passes */
export async function until<Value>(
  condition: string,
  probe: () => Promise<Value | undefined | false> | Value | undefined | false,
  timeoutMs = 30_000,
): Promise<Value> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${condition}`);
    await delay(20);
  }
}
