import { startFakeCluster } from './fake-cluster.ts';

/**
 * A fake cluster in a process of its own, for measurements of the router's: `fake-cluster-process.ts <sandboxes> <upstream port>`. Talks over IPC:
 * sends `{ kubeconfig }` first; `{ eventsPerSecond }` sets how many pod changes are sent from then on, answered each second by `{ sent }`.
 */
const [count = '0', upstreamPort = '0'] = process.argv.slice(2);
const cluster = await startFakeCluster(
  Array.from({ length: Number(count) }, (_, index) => ({
    namespace: `team-${index % 100}`,
    name: `sandbox-${index}`,
    // Loopback has sixteen million addresses: each pod its own, as in a cluster.
    address: `127.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
    port: Number(upstreamPort),
  })),
);
process.send?.({ kubeconfig: cluster.kubeconfig });

const TICK_MS = 2;
let perTick = 0;
let sent = 0;
let next = 0;
let owed = 0;
let lastMs = 0;
let timer: NodeJS.Timeout | undefined;
process.on('message', ({ eventsPerSecond }: { eventsPerSecond: number }) => {
  perTick = (eventsPerSecond * TICK_MS) / 1000;
  if (timer !== undefined) return;
  lastMs = performance.now();
  timer = setInterval(sendOwed, TICK_MS);
});
function sendOwed(): void {
  const nowMs = performance.now();
  owed = Math.min(owed + (perTick * (nowMs - lastMs)) / TICK_MS, perTick * 4);
  lastMs = nowMs;
  for (; owed >= 1; owed--, sent++) {
    // The first sandboxes carry the load of requests: their pods stay.
    next = next + 1 >= Number(count) ? 100 : next + 1;
    cluster.touchPod(Math.max(100, next));
  }
}
setInterval(() => {
  process.send?.({ sent });
}, 1000);
process.on('disconnect', () => process.exit());
