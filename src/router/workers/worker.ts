import cluster from 'node:cluster';
import { Socket } from 'node:net';
import { createFront } from '../front.ts';
import type { FrontOptions } from '../options.ts';
import { createChannel } from './channel.ts';
import type { ToPrimary, ToWorker } from './protocol.ts';
import { createRemoteCluster } from './remote-cluster.ts';
import { usedSince } from './worker-activity.ts';

/** Of the stream to the primary, in every worker. */
export const CHANNEL_FD = 4;
/** How often the primary is told what was used; before a pause it asks. */
const ACTIVITY_INTERVAL_MS = 500;

/** Answers requests over what the primary knows of the cluster; resolves once the primary has asked it to end, and it has. */
export async function runWorker(options: FrontOptions): Promise<void> {
  const channel = createChannel<ToWorker, ToPrimary>(new Socket({ fd: CHANNEL_FD, readable: true, writable: true }));
  const remote = createRemoteCluster(channel);
  const front = createFront(options, remote, ACTIVITY_INTERVAL_MS);
  let suspectPods = 0;
  const tellActivity = () => {
    const used = usedSince(front.activity, performance.now());
    if (used.length === 0 && suspectPods === remote.table.suspectCount()) return;
    suspectPods = remote.table.suspectCount();
    channel.send({ used, suspectPods });
  };
  const timer = setInterval(tellActivity, ACTIVITY_INTERVAL_MS);
  const listenAt = Promise.withResolvers<{ host: string; port: number }>();
  const ended = new Promise<void>((resolve) => {
    const end = async (delayMs: number) => {
      await front.close(delayMs);
      clearInterval(timer);
      tellActivity();
      resolve();
    };
    // Without a primary nobody tells what changes: better an end than a table that grows old unseen.
    cluster.worker?.once('disconnect', () => end(0));
    channel.onMessage((message) => {
      if ('listen' in message) listenAt.resolve(message.listen);
      else if ('share' in message) options.policy.tenants.share(message.share);
      else if ('close' in message) end(message.close.delayMs);
      else if ('ask' in message && message.ask === 'activity') {
        tellActivity();
        channel.send({ answer: message.id, value: true });
      } else if ('ask' in message)
        front.metrics.registry.getMetricsAsJSON().then((value) => channel.send({ answer: message.id, value }));
    });
  });
  // One that takes another's place has the whole table before the first request; the first ones answer that there is none yet.
  const { synced } = await remote.status;
  if (synced) await remote.complete;
  try {
    // The kernel deals connections out: a primary that did would keep those open that it was handing to a worker as that died.
    await front.listen({ ...(await listenAt.promise), exclusive: true, reusePort: true });
    channel.send({ listening: true });
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    channel.send({ failed: { message, ...(code === undefined ? {} : { code }) } });
  }
  await ended;
  cluster.worker?.disconnect();
  channel.close();
}
