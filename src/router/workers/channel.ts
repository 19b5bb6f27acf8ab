import type { Duplex } from 'node:stream';

/** One message a line, as JSON, both ways over a stream that only we use. */
export interface Channel<Incoming, Outgoing> {
  send(message: Outgoing): void;
  /** A line that is encoded already: the same for many. */
  sendLine(line: string): void;
  /** Bytes that the other side has not taken yet. */
  backlogBytes(): number;
  /** Resolves when what was sent so far may be followed by more without piling up. */
  drained(): Promise<void>;
  onMessage(listener: (message: Incoming) => void): void;
  close(): void;
}

/** Encodes one message for {@link Channel.sendLine}. */
export function encodeLine(message: unknown): string {
  return `${JSON.stringify(message)}\n`;
}

/** A channel over a stream between processes of one router. A line that is no JSON can only be a fault of ours, and throws. */
export function createChannel<Incoming, Outgoing>(stream: Duplex): Channel<Incoming, Outgoing> {
  const listeners = new Set<(message: Incoming) => void>();
  let rest = '';
  stream.setEncoding('utf8');
  // The other process has ended: whoever watches it acts on that.
  stream.on('error', () => {});
  stream.on('data', (text: string) => {
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      const line = rest === '' ? text.slice(from, end) : rest + text.slice(from, end);
      rest = '';
      from = end + 1;
      const message = JSON.parse(line) as Incoming;
      for (const listener of listeners) listener(message);
    }
    rest += from === 0 ? text : text.slice(from);
  });
  const sendLine = (line: string) => {
    if (stream.writable) stream.write(line);
  };
  return {
    sendLine,
    send: (message) => sendLine(encodeLine(message)),
    backlogBytes: () => stream.writableLength,
    drained: () =>
      stream.writableNeedDrain && stream.writable
        ? new Promise((resolve) => {
            const done = () => {
              stream.off('drain', done).off('close', done);
              resolve();
            };
            stream.once('drain', done).once('close', done);
          })
        : Promise.resolve(),
    onMessage: (listener) => void listeners.add(listener),
    close: () => stream.destroy(),
  };
}
