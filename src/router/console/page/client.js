/**
 * @typedef {{name: string, namespace: string, state: string, reason: string, message: string, port: number, path: string, isolated: boolean}} Sandbox
 * @typedef {{type: string, namespace: string, sandbox: string, state?: string}} SandboxEvent
 */

/** An answer of the API that is a refusal; the message is what it says to people. */
export class Refusal extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Calls of `/-/v1` with a key that is kept in memory alone. @param {string} key */
export function createClient(key) {
  const headers = { authorization: `Bearer ${key}` };

  /** @param {string} path @param {RequestInit} [init] */
  async function send(path, init = {}) {
    const answer = await fetch(`/-/v1/${path}`, { ...init, headers: { ...headers, ...init.headers } });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, problem.detail ?? `The router answered ${answer.status}.`);
  }
  /** @param {string} path */
  const read = async (path) => await (await send(path)).json();
  /** @param {Sandbox} sandbox @param {string} [part] */
  const pathOf = ({ name, namespace }, part = '') => `sandboxes/${name}${part}?namespace=${namespace}`;

  return {
    /** @returns {Promise<Sandbox[]>} */
    sandboxes: async () => (await read('sandboxes')).items,
    /** @param {Sandbox} sandbox */
    pause: (sandbox) => send(pathOf(sandbox, '/pause'), { method: 'POST' }),
    /** @param {Sandbox} sandbox */
    resume: (sandbox) => send(pathOf(sandbox, '/resume'), { method: 'POST' }),
    /** @param {Sandbox} sandbox @returns {Promise<{name: string, ready: boolean, createdAt: string}[]>} */
    snapshots: async (sandbox) => (await read(pathOf(sandbox, '/snapshots'))).items,
    /** What became of it, the latest first. @param {Sandbox} sandbox @returns {Promise<{summary: string, lastAt: string, count: number}[]>} */
    events: async (sandbox) => (await read(pathOf(sandbox, '/events'))).items,
    /** @param {Sandbox} sandbox @param {string} snapshot */
    restore: (sandbox, snapshot) =>
      send(pathOf(sandbox, '/restore'), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ snapshot }),
      }),
    /** A link of a few minutes into a sandbox. @param {Sandbox} sandbox @returns {Promise<string>} */
    link: async ({ name, namespace }) => {
      const body = JSON.stringify({ sandbox: name, namespace, lifetime: '10m', oneUse: true });
      const answer = await send('links', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      return (await answer.json()).url;
    },
    /** Server-Sent Events with a header, which EventSource can't send. Ends with the stream. @param {(event: SandboxEvent) => void} take @param {AbortSignal} signal */
    follow: async (take, signal) => {
      const { body } = await send('events', { signal });
      if (body === null) return;
      let unread = '';
      for await (const text of body.pipeThrough(new TextDecoderStream())) {
        const blocks = (unread + text).split('\n\n');
        unread = blocks.pop() ?? '';
        for (const block of blocks) {
          const data = /^data: (.*)$/m.exec(block)?.[1];
          const type = /^event: (.*)$/m.exec(block)?.[1];
          if (data !== undefined && type !== undefined) take({ ...JSON.parse(data), type });
        }
      }
    },
  };
}
/** @typedef {ReturnType<typeof createClient>} Client */
