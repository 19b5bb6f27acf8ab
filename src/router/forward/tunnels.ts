import type { Lines } from './lines.ts';
import { GOING_AWAY, type Tunnel } from './tunnel.ts';
import { openUpgrade, type UpgradeRequest } from './upgrade.ts';

/** Open tunnels, so that all of them can be drained. */
export interface Tunnels {
  open(upgrade: UpgradeRequest): void;
  count(): number;
  /** This router ends: WebSocket clients are told 1001 (going away) between two frames, others lose their connection. */
  closeAll(): void;
  /** Cuts what is still open. */
  destroyAll(): void;
}

/** Resolution of idle time and age. */
const WATCH_MS = 1000;

/**
 * Tunnels: only a true 101 opens one; its headers and everything after it go through byte for byte. Any other answer is passed on as the HTTP answer it is.
 * Written on node:http rather than http-proxy-3, which normalises `//` in paths, rebuilds headers from their parsed form and knows WebSocket alone.
 */
export function createTunnels(lines: Lines): Tunnels {
  const tunnels = new Set<Tunnel>();
  /** Bounds of time are looked at together: a timer for each of ten thousand sockets would cost more. Runs while there are tunnels. */
  let watch: NodeJS.Timeout | undefined;

  function endOverdue(): void {
    const nowMs = performance.now();
    for (const tunnel of tunnels) {
      // Asleep nothing goes through by itself.
      if (tunnel.isHushed()) {
        tunnel.movedAtMs = nowMs;
        continue;
      }
      const { webSocketIdleMs, webSocketMaxAgeMs } = tunnel.timeouts;
      const tooOld = webSocketMaxAgeMs > 0 && nowMs - tunnel.openedAtMs >= webSocketMaxAgeMs;
      const tooIdle = webSocketIdleMs > 0 && nowMs - tunnel.movedAtMs >= webSocketIdleMs;
      // The rest of a frame that it waited for may never come.
      if ((tooOld || tooIdle) && tunnel.leaving) tunnel.client.destroy();
      else if (tooOld) tunnel.close(GOING_AWAY, 'it was open for as long as it may be');
      else if (tooIdle) tunnel.close(GOING_AWAY, 'nothing went through for too long');
    }
  }

  function track(upgrade: UpgradeRequest, tunnel: Tunnel): () => void {
    tunnels.add(tunnel);
    watch ??= setInterval(endOverdue, WATCH_MS);
    tunnel.client.once('close', () => {
      tunnels.delete(tunnel);
      if (tunnels.size > 0) return;
      clearInterval(watch);
      watch = undefined;
    });
    return lines.add(tunnel, upgrade.route, upgrade.pod);
  }

  return {
    open: (upgrade) => openUpgrade(upgrade, track),
    count: () => tunnels.size,
    closeAll: () => {
      for (const tunnel of tunnels) tunnel.close(GOING_AWAY, 'the router is going away');
    },
    destroyAll: () => {
      for (const { client } of tunnels) client.destroy();
    },
  };
}
