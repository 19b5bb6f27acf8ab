// Hosts outside of all sandboxes, for tests: answers HTTP and UDP on every address of its network namespace, and DNS from a zone file that is read anew for
// each question. Usage: node outside-host.ts <zone.json> <DNS address> <tcp ports> <udp ports>
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { ZoneEntry } from './outside-network.ts';

const [, , zonePath = '', dnsAddress = '', tcpPorts = '', udpPorts = ''] = process.argv;
const listening: Promise<void>[] = [];

for (const port of tcpPorts.split(',').map(Number)) {
  const server = createServer((request, response) => response.end(`outside ${request.socket.remoteAddress}\n`));
  listening.push(new Promise((resolve) => server.listen(port, '0.0.0.0', () => resolve())));
}
for (const port of udpPorts.split(',').map(Number)) {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  listening.push(new Promise((resolve) => socket.bind(port, '0.0.0.0', () => resolve())));
}
const dns = createSocket('udp4');
dns.on('message', (query, from) => dns.send(answer(query), from.port, from.address));
listening.push(new Promise((resolve) => dns.bind(53, dnsAddress, () => resolve())));
const dnsOverTcp = createTcpServer((socket) => {
  socket
    .on('error', () => {})
    .on('data', (chunk) => {
      const response = answer(chunk.subarray(2), true);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(response.length);
      socket.end(Buffer.concat([length, response]));
    });
});
listening.push(new Promise((resolve) => dnsOverTcp.listen(53, dnsAddress, () => resolve())));
await Promise.all(listening);
console.log('ready');

function answer(query: Buffer, whole = false): Buffer {
  const zone = JSON.parse(readFileSync(zonePath, 'utf8')) as Record<string, ZoneEntry>;
  const labels: string[] = [];
  let offset = 12;
  for (let size = query.readUInt8(offset); size !== 0; size = query.readUInt8(offset)) {
    labels.push(query.toString('latin1', offset + 1, offset + 1 + size));
    offset += 1 + size;
  }
  const end = offset + 5;
  const type = query.readUInt16BE(offset + 1);
  const records: Buffer[] = [];
  let name = labels.join('.').toLowerCase();
  const first = zone[name];
  const truncated = first !== undefined && 'truncate' in first && !whole;
  for (let entry = first; entry !== undefined && type === 1 && !truncated; entry = zone[name]) {
    if ('address' in entry) {
      records.push(record(name, 1, entry.ttl, Buffer.from(entry.address.split('.').map(Number))));
      break;
    }
    records.push(record(name, 5, entry.ttl, encoded(entry.alias)));
    name = entry.alias;
  }
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8180 | (truncated ? 0x0200 : 0) | (first === undefined ? 3 : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, query.subarray(12, end), ...records]);
}

function encoded(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

function record(name: string, type: number, ttl: number, data: Buffer): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt32BE(ttl, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([encoded(name), fixed, data]);
}
