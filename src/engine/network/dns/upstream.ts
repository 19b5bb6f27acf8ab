import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect, isIPv6 } from 'node:net';
import { isAnswerTo, isTruncated, type Question } from './message.ts';

/** A name server. */
export interface NameServer {
  address: string;
  port: number;
}

/** How long one server gets before the next is asked. */
const ANSWER_TIMEOUT_MS = 2500;

/** Name servers of the machine, from its resolv.conf. */
export function systemNameServers(path = '/etc/resolv.conf'): NameServer[] {
  try {
    return [...readFileSync(path, 'utf8').matchAll(/^\s*nameserver\s+([\d.]+|[\da-fA-F:]+)\s*$/gm)].map(
      ([, address = '']) => ({ address, port: 53 }),
    );
  } catch {
    return [];
  }
}

/**
 * Asks one server after the other, over UDP and, where an answer does not fit, over TCP; resolves with the first answer, under the query's own id. Each question
 * goes out from a port and under an id of its own, so that others can't answer in the server's place.
 * @throws Error if none answers
 */
export async function askUpstream(servers: readonly NameServer[], query: Buffer, question: Question): Promise<Buffer> {
  let failure: unknown = new Error('no name server is known');
  for (const server of servers) {
    try {
      const id = randomInt(0x1_0000);
      const message = Buffer.from(query);
      message.writeUInt16BE(id, 0);
      const short = await askByUdp(server, message, question, id);
      const answer = Buffer.from(isTruncated(short) ? await askByTcp(server, message, question, id) : short);
      answer.writeUInt16BE(question.id, 0);
      return answer;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

function askByUdp({ address, port }: NameServer, message: Buffer, question: Question, id: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    const settle = (act: () => void) => {
      clearTimeout(timer);
      socket.close();
      act();
    };
    const timer = setTimeout(
      () => settle(() => reject(new Error(`name server ${address} does not answer`))),
      ANSWER_TIMEOUT_MS,
    );
    socket.once('error', (error) => settle(() => reject(error)));
    socket.on('message', (answer) => {
      if (isAnswerTo(answer, question, id)) settle(() => resolve(answer));
    });
    socket.connect(port, address, () => socket.send(message));
  });
}

function askByTcp({ address, port }: NameServer, message: Buffer, question: Question, id: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    const chunks: Buffer[] = [];
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => fail(new Error(`name server ${address} does not answer over TCP`)));
    socket.on('error', fail).on('close', () => reject(new Error(`name server ${address} closed the connection`)));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      const received = Buffer.concat(chunks);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const answer = received.subarray(2, 2 + received.readUInt16BE(0));
      if (isAnswerTo(answer, question, id)) resolve(answer);
      else reject(new Error(`name server ${address} answered another question`));
      socket.destroy();
    });
    socket.write(Buffer.concat([lengthOf(message), message]));
  });
}

/** Length prefix of a message over TCP. */
export function lengthOf(message: Buffer): Buffer {
  const prefix = Buffer.alloc(2);
  prefix.writeUInt16BE(message.length);
  return prefix;
}
