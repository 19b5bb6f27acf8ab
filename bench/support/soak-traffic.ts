import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, request } from 'undici';
import WebSocket from 'ws';
import type { FakeSandbox } from './fake-cluster.ts';
import type { SoakPods } from './soak-pods.ts';

/** Traffic of a soak and where it goes. */
export interface SoakTrafficOptions {
  url: string;
  headers: Record<string, string>;
  sandboxes: readonly FakeSandbox[];
  pods: SoakPods;
  dispatcher: Dispatcher;
  requestsPerSecond: number;
}

/** What became of it. `failed`: although its pod lived all the time; `excused`: its pod died meanwhile. */
export interface SoakResult {
  answered: number;
  excused: number;
  failed: number;
  messagesEchoed: number;
  socketsOpened: number;
  /** How often each kind of failure was seen. */
  failures: Record<string, number>;
}

const TICK_MS = 10;
const BODY = Buffer.alloc(16_384, 'x');
const MESSAGE_MS = 500;
/** A bound of memory for the load itself: beyond, it waits. */
const MOST_UNDER_WAY = 2000;

/** Sends at a fixed rate, whatever comes back, and keeps one WebSocket to each sandbox. */
export function createSoakTraffic(options: SoakTrafficOptions): { run(untilMs: number): Promise<SoakResult> } {
  const { url, headers, sandboxes, pods, dispatcher, requestsPerSecond } = options;
  const result: SoakResult = { answered: 0, excused: 0, failed: 0, messagesEchoed: 0, socketsOpened: 0, failures: {} };
  let underWay = 0;

  function failed(index: number, sinceMs: number, what: string): void {
    if (pods.diedSince(index, sinceMs)) {
      result.excused++;
      return;
    }
    result.failed++;
    result.failures[what] = (result.failures[what] ?? 0) + 1;
  }

  async function one(number: number): Promise<void> {
    const index = number % sandboxes.length;
    const kind = number % 20 === 0 ? 'large' : number % 20 === 1 ? 'upload' : 'small';
    const sinceMs = performance.now();
    underWay++;
    try {
      const answer = await request(`${url}/${sandboxes[index]?.name}/${kind === 'large' ? 'large' : ''}`, {
        dispatcher,
        headers,
        ...(kind === 'upload' ? { method: 'POST' as const, body: BODY } : {}),
      });
      const body = await answer.body.text();
      if (answer.statusCode === 200) result.answered++;
      else failed(index, sinceMs, `${kind}: ${answer.statusCode} ${/"code":"(\w+)"/.exec(body)?.[1]}`);
    } catch (error) {
      failed(index, sinceMs, `${kind}: ${(error as Error).message}`);
    } finally {
      underWay--;
    }
  }

  /** Opens a socket again whenever its pod has died. */
  async function converse(index: number, untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      const sinceMs = performance.now();
      const socket = new WebSocket(`${url.replace('http', 'ws')}/${sandboxes[index]?.name}/socket`, { headers });
      await new Promise<void>((resolve) => {
        const say = () => {
          if (performance.now() < untilMs) socket.send('message');
          else socket.close(1000);
        };
        socket.on('open', () => {
          result.socketsOpened++;
          say();
        });
        socket.on('message', () => {
          result.messagesEchoed++;
          setTimeout(say, MESSAGE_MS);
        });
        socket.on('error', () => {});
        socket.on('close', (code) => {
          if (code !== 1000) failed(index, sinceMs, `WebSocket: closed with ${code}`);
          resolve();
        });
      });
      await delay(100);
    }
  }

  return {
    run: async (untilMs) => {
      const conversations = sandboxes.map((_, index) => converse(index, untilMs));
      const startedMs = performance.now();
      let sent = 0;
      while (performance.now() < untilMs) {
        const due = ((performance.now() - startedMs) * requestsPerSecond) / 1000;
        while (sent < due && underWay < MOST_UNDER_WAY) void one(sent++);
        // What the machine did not get to is not sent later in one heap.
        if (underWay >= MOST_UNDER_WAY) sent = Math.max(sent, Math.floor(due));
        await delay(TICK_MS);
      }
      await Promise.all(conversations);
      while (underWay > 0) await delay(TICK_MS);
      return result;
    },
  };
}
