/** A request in the sandbox. */
interface Work {
  use: boolean;
  leftMs: number;
  /** When its processes went on; undefined while they stand still. */
  sinceMs: number | undefined;
  timer: NodeJS.Timeout | undefined;
  end(how: 'ok' | 'reset'): void;
}

/** A connection into the sandbox. */
export interface Connection {
  /** What is sent while the processes stand still is on its way until they go on. */
  send(chunk: Buffer): void;
  close(): void;
}

/** The processes of the sandbox, whichever pod they are in: they and their connections stand still in a snapshot, and go on with the next pod. */
export function createProcesses(clockMs: () => number) {
  const works = new Map<number, Work>();
  const connections = new Map<Connection, { waiting: Buffer[]; receive(chunk: Buffer): void; reset(): void }>();
  /** Dials that get no answer yet. */
  const unanswered: ((accepted: boolean) => void)[] = [];
  let state = 'none' as 'none' | 'run' | 'stand still' | 'end';

  return {
    /** Whether a dial is accepted; what stands still gives no answer until it goes on, or is gone. */
    connect: (): Promise<boolean> => {
      if (state !== 'stand still') return Promise.resolve(state === 'run');
      return new Promise((resolve) => unanswered.push(resolve));
    },
    /** A request is in the sandbox, until it is answered or what it was in is ended. */
    work: (id: number, use: boolean, leftMs: number): Promise<'ok' | 'reset'> =>
      new Promise((resolve) => {
        const end = (how: 'ok' | 'reset') => {
          clearTimeout(works.get(id)?.timer);
          works.delete(id);
          resolve(how);
        };
        works.set(id, { use, leftMs, sinceMs: clockMs(), timer: setTimeout(() => end('ok'), leftMs), end });
      }),
    requestsOfUse: () => [...works].filter(([, { use }]) => use).map(([id]) => id),
    /** The connection of a request ends from outside. */
    drop: (id: number) => works.get(id)?.end('reset'),
    open: (receive: (chunk: Buffer) => void, reset: () => void): Connection => {
      const end = { waiting: [] as Buffer[], receive, reset };
      const connection: Connection = {
        send: (chunk) => (state === 'run' ? receive(chunk) : void end.waiting.push(chunk)),
        close: () => void connections.delete(connection),
      };
      connections.set(connection, end);
      return connection;
    },
    standStill: () => {
      state = 'stand still';
      for (const work of works.values()) {
        clearTimeout(work.timer);
        if (work.sinceMs !== undefined) work.leftMs -= clockMs() - work.sinceMs;
        work.sinceMs = undefined;
      }
    },
    goOn: () => {
      state = 'run';
      for (const answer of unanswered.splice(0)) answer(true);
      for (const work of works.values()) {
        if (work.sinceMs !== undefined) continue;
        work.sinceMs = clockMs();
        work.timer = setTimeout(() => work.end('ok'), Math.max(0, work.leftMs));
      }
      for (const { waiting, receive } of connections.values()) for (const chunk of waiting.splice(0)) receive(chunk);
    },
    /** They are told to end, and accept nothing more. */
    closePort: () => {
      state = 'end';
    },
    /** They end, with all that was in them. */
    end: () => {
      for (const work of [...works.values()]) work.end('reset');
      for (const { reset } of connections.values()) reset();
      connections.clear();
    },
    /** Their pod is gone, and with it whoever could answer a dial. */
    leave: () => {
      state = 'none';
      for (const answer of unanswered.splice(0)) answer(false);
    },
  };
}
