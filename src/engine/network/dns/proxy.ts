import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { blockContains, numeric } from '../addresses.ts';
import type { EgressName } from '../firewall/rules.ts';
import type { OpenAddress } from '../firewall/ruleset.ts';
import { matchingNames } from './egress-names.ts';
import { addressesIn, type Question, RECORD, RESPONSE, readQuery, writeAnswer } from './message.ts';
import { askUpstream, lengthOf, type NameServer } from './upstream.ts';

/** A sandbox that asks. */
export interface DnsClient {
  /** Container id. */
  id: string;
  names: readonly EgressName[];
  resolvesAnyName: boolean;
}

/** What the proxy needs. */
export interface DnsProxyOptions {
  /** Where it listens, on a port that the system chooses. */
  address: string;
  servers(): readonly NameServer[];
  /** Who has that address; undefined for anybody who is no sandbox. */
  clientAt(address: string): DnsClient | undefined;
  /** Addresses of a name of the cluster, without `.svc.cluster.local`; undefined if there is no such Service. */
  serviceAddresses(name: string): readonly string[] | undefined;
  /** Opens addresses to a sandbox; resolves when they are. */
  open(id: string, addresses: readonly OpenAddress[]): Promise<void>;
  failed(what: string, error: unknown): void;
}

/** A DNS proxy that runs. */
export interface DnsProxy {
  port: number;
  close(): Promise<void>;
}

/** Domain of Services. */
export const CLUSTER_DOMAIN = 'cluster.local';
const SERVICE_TTL_SECONDS = 5;
/** Addresses stay open a little longer than their answer lives: the answer takes time to arrive, and so does the connection. */
const GRACE_SECONDS = 5;
const LONGEST_OPEN_SECONDS = 24 * 60 * 60;
/** Questions of one sandbox that wait for an upstream answer at once. */
const MOST_WAITING = 64;
const TCP_IDLE_MS = 10_000;
const MOST_CONNECTIONS = 256;
/** Largest answer over UDP without EDNS (RFC 1035 section 4.2.1), and what is assumed with it (RFC 9715). */
const SMALL_ANSWER_BYTES = 512;
const LARGE_ANSWER_BYTES = 1232;

/** Never opened by name: a name that its owner points to private addresses must not lead into the machine's networks. */
const PRIVATE_BLOCKS = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '168.63.129.16/32',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '224.0.0.0/3',
];

/**
 * DNS for sandboxes: names of Services, and the names that a sandbox may call, forwarded to the machine's own name servers. What an answer says is opened to
 * the one who asked before he hears it, and for as long as it lives. Everything else is refused: questions carry data out, too.
 */
export async function startDnsProxy(options: DnsProxyOptions): Promise<DnsProxy> {
  const waiting = new Map<string, number>();
  const sockets = new Set<Socket>();
  const datagrams = createSocket('udp4');
  const connections = createServer();
  const port = await listen();

  datagrams.on('message', (query, { address, port: from }) => {
    answer(query, address)
      .then((response) => {
        if (response === undefined) return;
        const most =
          query.length > SMALL_ANSWER_BYTES || query.readUInt16BE(10) > 0 ? LARGE_ANSWER_BYTES : SMALL_ANSWER_BYTES;
        datagrams.send(response.length > most ? cutOff(query, response) : response, from, address, () => {});
      })
      .catch((error) => options.failed('DNS', error));
  });
  datagrams.on('error', (error) => options.failed('DNS over UDP', error));
  connections.maxConnections = MOST_CONNECTIONS;
  connections.on('error', (error) => options.failed('DNS over TCP', error));
  connections.on('connection', (socket) => {
    const client = socket.remoteAddress ?? '';
    if (options.clientAt(client) === undefined) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    let unread: Buffer = Buffer.alloc(0);
    let answered: Promise<void> = Promise.resolve();
    socket.on('data', (chunk: Buffer) => {
      unread = Buffer.concat([unread, chunk]);
      while (unread.length >= 2 && unread.length >= 2 + unread.readUInt16BE(0)) {
        const query = unread.subarray(2, 2 + unread.readUInt16BE(0));
        unread = unread.subarray(2 + query.length);
        // One at a time: who sends faster than answers come is slowed down.
        socket.pause();
        answered = answered
          .then(() => answer(query, client))
          .then((response) => {
            if (response !== undefined) socket.write(Buffer.concat([lengthOf(response), response]));
            socket.resume();
          })
          .catch((error) => options.failed('DNS', error));
      }
    });
  });

  async function listen(): Promise<number> {
    // The same port for both: a few tries find one that is free for both.
    for (let attempt = 1; ; attempt++) {
      connections.listen({ host: options.address, port: 0 });
      await once(connections, 'listening');
      const chosen = (connections.address() as AddressInfo).port;
      try {
        datagrams.bind({ address: options.address, port: chosen, exclusive: true });
        await once(datagrams, 'listening');
        return chosen;
      } catch (error) {
        connections.close();
        await once(connections, 'close');
        if (attempt === 5) throw error;
      }
    }
  }

  async function answer(query: Buffer, address: string): Promise<Buffer | undefined> {
    const client = options.clientAt(address);
    if (client === undefined || query.length < 12) return undefined;
    let question: Question;
    try {
      question = readQuery(query);
    } catch {
      return writeAnswer(query, undefined, RESPONSE.formatError);
    }
    const { name } = question;
    if (name === CLUSTER_DOMAIN || name.endsWith(`.${CLUSTER_DOMAIN}`)) return answerForService(query, question);
    const matching = matchingNames(client.names, name);
    if (matching.length === 0 && !client.resolvesAnyName) return writeAnswer(query, question, RESPONSE.refused);
    // Sandboxes have IPv4 only: an empty answer spares them the wait.
    if (question.type === RECORD.AAAA) return writeAnswer(query, question, RESPONSE.noError);
    const count = waiting.get(client.id) ?? 0;
    if (count >= MOST_WAITING) return writeAnswer(query, question, RESPONSE.serverFailure);
    waiting.set(client.id, count + 1);
    try {
      const response = await askUpstream(options.servers(), query, question);
      if (matching.length > 0 && question.type === RECORD.A) await options.open(client.id, opening(response, matching));
      return response;
    } catch {
      return writeAnswer(query, question, RESPONSE.serverFailure);
    } finally {
      const left = (waiting.get(client.id) ?? 1) - 1;
      if (left === 0) waiting.delete(client.id);
      else waiting.set(client.id, left);
    }
  }

  function answerForService(query: Buffer, question: Question): Buffer {
    const suffix = `.svc.${CLUSTER_DOMAIN}`;
    const found = question.name.endsWith(suffix)
      ? options.serviceAddresses(question.name.slice(0, -suffix.length))
      : undefined;
    if (found === undefined) return writeAnswer(query, question, RESPONSE.noSuchName);
    const records = question.type === RECORD.A ? found : [];
    return writeAnswer(
      query,
      question,
      RESPONSE.noError,
      records.map((address) => ({ address, ttlSeconds: SERVICE_TTL_SECONDS })),
    );
  }

  return {
    port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      connections.close();
      datagrams.close();
    },
  };
}

/** What an answer opens: its public addresses, on the ports that go with the name. */
function opening(response: Buffer, matching: readonly EgressName[]): OpenAddress[] {
  const anyPort = matching.some(({ port }) => port === undefined);
  const ports = anyPort ? [undefined] : [...new Set(matching.map(({ port }) => port))];
  return addressesIn(response)
    .filter(({ address }) => !PRIVATE_BLOCKS.some((block) => blockContains(block, numeric(address) ?? 0)))
    .flatMap(({ address, ttlSeconds }) =>
      ports.map((port) => ({ address, port, seconds: Math.min(ttlSeconds, LONGEST_OPEN_SECONDS) + GRACE_SECONDS })),
    );
}

/** The start of an answer that does not fit: the client asks again over TCP. */
function cutOff(query: Buffer, response: Buffer): Buffer {
  const short = writeAnswer(query, readQuery(query), RESPONSE.noError);
  short.writeUInt16BE(response.readUInt16BE(2) | 0x0200, 2);
  return short;
}
