import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Client, type ClientReadableStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  bytesField,
  type Field,
  numberField,
  readFields,
  toBytes,
  toInt32,
} from '../../src/engine/agent/sandboxd/protobuf.ts';
import { projectRoot } from '../support/checkout.ts';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/until.ts';

/** The agent of the toolbox image, as a process of this machine. */
describe('the sandboxd runtime', { timeout: 180_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-sandboxd-'));
  const root = join(directory, 'workspace');
  const secret = join(directory, 'secret.txt');
  let agent: ChildProcess;
  let rest: string;
  let client: Client;

  before(async () => {
    mkdirSync(root);
    writeFileSync(secret, 'not yours');
    const [port, restPort, grpcPort] = await Promise.all([freePort(), freePort(), freePort()]);
    agent = spawn(process.execPath, [join(projectRoot, 'src/engine/agent/agent.ts')], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        PATH: process.env.PATH,
        PORT: String(port),
        SANDBOX_ADDRESS: '127.0.0.1',
        SANDBOX_WORKSPACE: root,
        SANDBOX_API_TOKEN: 'hidden',
        SANDBOXD_REST_PORT: String(restPort),
        SANDBOXD_GRPC_PORT: String(grpcPort),
      },
    });
    rest = `http://127.0.0.1:${restPort}/v1`;
    client = new Client(`127.0.0.1:${grpcPort}`, credentials.createInsecure());
    await until('both listen', async () => {
      const health = await fetch(`${rest}/health`).then(
        (response) => response.ok,
        () => false,
      );
      return (
        health &&
        (await call('Execute', config(['true'])).then(
          () => true,
          () => false,
        ))
      );
    });
  });
  after(async () => {
    client?.close();
    const ended = once(agent, 'exit');
    agent.kill('SIGKILL');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });

  describe('files over REST', () => {
    const put = (path: string, body: RequestInit['body'], headers: Record<string, string> = {}) =>
      fetch(`${rest}/files/${path}`, { method: 'PUT', body: body ?? null, headers });
    const problem = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];

    it('writes with parents and mode, reads, tells what is there, and removes', async () => {
      const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 256));
      assert.equal((await put('deep%2Fdown/blob.bin?mode=0750', content)).status, 204);
      assert.equal(statSync(join(root, 'deep/down/blob.bin')).mode & 0o777, 0o750);
      const read = await fetch(`${rest}/files/deep%2Fdown%2Fblob.bin`);
      assert.equal(read.headers.get('content-type'), 'application/octet-stream');
      assert.deepEqual(Buffer.from(await read.arrayBuffer()), content);
      const head = await fetch(`${rest}/files/deep/down/blob.bin`, { method: 'HEAD' });
      assert.deepEqual([head.status, head.headers.get('content-length')], [200, '300000']);
      const listing = (await (await fetch(`${rest}/files/deep/down`)).json()) as {
        path: string;
        entries: { modified_at: string }[];
      };
      const [entry] = listing.entries;
      assert.ok(Math.abs(Date.parse(entry?.modified_at ?? '') - Date.now()) < 60_000);
      assert.deepEqual(
        { ...listing, entries: [{ ...entry, modified_at: '' }] },
        {
          path: '/deep/down',
          entries: [{ name: 'blob.bin', size: 300_000, type: 'file', mode: '0750', modified_at: '' }],
        },
      );
      const remove = (path: string) => fetch(`${rest}/files/${path}`, { method: 'DELETE' });
      assert.deepEqual(await problem(await remove('deep')), [409, 'CONFLICT']);
      assert.equal((await remove('deep?recursive=true')).status, 204);
      assert.deepEqual(await problem(await remove('deep')), [404, 'NOT_FOUND']);
      assert.equal((await fetch(`${rest}/files/deep`, { method: 'HEAD' })).status, 404);
    });

    it('takes multipart bodies, empty files and names of any kind', async () => {
      const form = new FormData();
      form.set('file', new Blob(['from a form']), 'ignored.txt');
      assert.equal((await fetch(`${rest}/files/form.txt`, { method: 'PUT', body: form })).status, 204);
      assert.equal(readFileSync(join(root, 'form.txt'), 'utf8'), 'from a form');
      assert.equal((await put(encodeURIComponent('ä ? #.txt'), '')).status, 204);
      assert.equal(await (await fetch(`${rest}/files/${encodeURIComponent('ä ? #.txt')}`)).text(), '');
    });

    it('a write that is broken off leaves the old file and nothing else', async () => {
      await put('kept.txt', 'old');
      const broken = new ReadableStream({
        start: (controller) => controller.enqueue(Buffer.from('new')),
        pull: (controller) => controller.error(new Error('broken off')),
      });
      await assert.rejects(
        fetch(`${rest}/files/kept.txt`, { method: 'PUT', body: broken, duplex: 'half' } as RequestInit),
      );
      await until('nothing is left', () => !readdirSync(root).some((name) => name.endsWith('.part')));
      assert.equal(readFileSync(join(root, 'kept.txt'), 'utf8'), 'old');
    });

    it('never leads outside the root', async () => {
      symlinkSync(directory, join(root, 'way-out'));
      symlinkSync(secret, join(root, 'linked.txt'));
      const paths = [
        '%2E%2E%2Fsecret.txt',
        '..%2f..%2fetc%2fpasswd',
        'way-out%2Fsecret.txt',
        'linked.txt',
        'a%00b',
        '%2E%2E%2F',
      ];
      for (const path of paths)
        for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) {
          if (path === 'linked.txt' && (method === 'PUT' || method === 'DELETE')) continue;
          const response = await fetch(`${rest}/files/${path}`, { method, ...(method === 'PUT' ? { body: 'x' } : {}) });
          assert.equal(response.status, 403, `${method} ${path}`);
          if (method !== 'HEAD') assert.equal(((await response.json()) as { code: string }).code, 'PERMISSION_DENIED');
        }
      // A link itself may be replaced: it is in the root, what it points to is not.
      assert.equal((await put('linked.txt', 'mine')).status, 204);
      assert.equal(readFileSync(secret, 'utf8'), 'not yours');
      rmSync(join(root, 'way-out'));
    });

    it('says what is wrong', async () => {
      assert.deepEqual(await problem(await put('a.txt?mode=9', 'x')), [400, 'INVALID_ARGUMENT']);
      assert.deepEqual(await problem(await fetch(`${rest}/files/%ff`)), [400, 'INVALID_ARGUMENT']);
      assert.deepEqual(await problem(await fetch(`${rest}/files/a`, { method: 'POST' })), [405, 'METHOD_NOT_ALLOWED']);
      assert.deepEqual(await problem(await fetch(`${rest}/nothing`)), [404, 'NOT_FOUND']);
      mkdirSync(join(root, 'taken'));
      assert.deepEqual(await problem(await put('taken', 'x')), [400, 'INVALID_ARGUMENT']);
    });

    it('tells its health, and of its variables what is no secret', async () => {
      assert.equal(((await (await fetch(`${rest}/health`)).json()) as { status: string }).status, 'ok');
      const { env } = (await (await fetch(`${rest}/metadata`)).json()) as { env: Record<string, string> };
      assert.deepEqual(env, { SANDBOX_ADDRESS: '127.0.0.1', SANDBOX_WORKSPACE: root });
    });
  });

  const path = (method: string) => `/process.v1.ProcessService/${method}`;
  const same = (bytes: Buffer) => bytes;
  function config(command: string[], environment: Record<string, string> = {}, cwd?: string): Buffer {
    const entries = Object.entries(environment).map(([name, value]) =>
      bytesField(2, Buffer.concat([bytesField(1, Buffer.from(name)), bytesField(2, Buffer.from(value))])),
    );
    const parts = command.map((part) => bytesField(1, Buffer.from(part)));
    return bytesField(
      1,
      Buffer.concat([...parts, ...entries, ...(cwd === undefined ? [] : [bytesField(3, Buffer.from(cwd))])]),
    );
  }
  const sh = (script: string) => config(['/bin/sh', '-c', script]);
  function call(method: string, request: Buffer, deadlineMs = 30_000): Promise<Map<number, Field['value']>> {
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path(method),
        same,
        same,
        request,
        new Metadata(),
        { deadline: Date.now() + deadlineMs },
        (error, answer) =>
          error
            ? reject(error)
            : resolve(new Map(readFields(answer ?? Buffer.alloc(0)).map(({ number, value }) => [number, value]))),
      );
    });
  }
  const failure = (promise: Promise<unknown>): Promise<ServiceError> =>
    promise.then(
      () => assert.fail('it succeeded'),
      (error) => error,
    );
  const result = (answer: Map<number, Field['value']>) => [
    toInt32(answer.get(1) ?? 0n),
    toBytes(answer.get(2) ?? Buffer.alloc(0)).toString(),
    toBytes(answer.get(3) ?? Buffer.alloc(0)).toString(),
  ];
  /** Starts a process and gathers what it says. */
  function start(request: Buffer) {
    const stream: ClientReadableStream<Buffer> = client.makeServerStreamRequest(
      path('Start'),
      same,
      same,
      request,
      new Metadata(),
    );
    const seen = { id: 0, stdout: '', stderr: '', exit: undefined as number | undefined };
    const ended = new Promise<ServiceError | undefined>((resolve) => {
      stream.on('error', (error: ServiceError) => resolve(error));
      stream.on('end', () => resolve(undefined));
    });
    stream.on('data', (message: Buffer) => {
      for (const { number, value } of readFields(message)) {
        const bytes = toBytes(value);
        const inner = () => toInt32(readFields(bytes)[0]?.value ?? 0n);
        if (number === 1) seen.id = inner();
        if (number === 2) seen.stdout += bytes.toString();
        if (number === 3) seen.stderr += bytes.toString();
        if (number === 4) seen.exit = inner();
      }
    });
    return { stream, seen, ended };
  }
  const input = (id: number, text: string) =>
    call('WriteStdin', Buffer.concat([numberField(1, id), bytesField(2, Buffer.from(text))]));
  const endOfInput = (id: number) =>
    call('WriteStdin', Buffer.concat([numberField(1, id), bytesField(3, Buffer.alloc(0))]));
  const signal = (id: number, number: number) =>
    call('SendSignal', Buffer.concat([numberField(1, id), numberField(2, number)]));
  const resize = (id: number, columns: number, rows: number) =>
    call('ResizeTTY', Buffer.concat([numberField(1, id), numberField(2, columns), numberField(3, rows)]));

  describe('processes over gRPC', () => {
    it('executes with variables and a directory, and gives output and exit code', async () => {
      mkdirSync(join(root, 'sub'), { recursive: true });
      const script = 'pwd; echo $GREETING; echo err >&2; exit 3';
      const answer = await call('Execute', config(['/bin/sh', '-c', script], { GREETING: 'hello' }, 'sub'));
      assert.deepEqual(result(answer), [3, `${join(root, 'sub')}\nhello\n`, 'err\n']);
      assert.deepEqual(result(await call('Execute', sh('kill -TERM $$'))), [143, '', '']);
    });

    it('streams output as it comes, takes input, and ends with the exit code', async () => {
      const { seen, ended } = start(sh('echo ready; read line; echo "got $line" >&2; cat; exit 7'));
      await until('it is ready', () => seen.stdout === 'ready\n');
      await input(seen.id, 'one\n');
      await until('it got the line', () => seen.stderr === 'got one\n');
      await input(seen.id, 'two');
      await endOfInput(seen.id);
      assert.equal(await ended, undefined);
      assert.deepEqual([seen.stdout, seen.exit], ['ready\ntwo', 7]);
      assert.equal((await failure(input(seen.id, 'late'))).code, status.NOT_FOUND);
    });

    it('hands on more than fits anywhere at once, to a caller that takes it slowly', async () => {
      const { stream, seen, ended } = start(sh('head -c 20000000 /dev/zero'));
      stream.pause();
      await until('it started', () => seen.id === 0);
      stream.resume();
      assert.equal(await ended, undefined);
      assert.deepEqual([seen.stdout.length, seen.exit], [20_000_000, 0]);
    });

    for (const [name, number, exit] of [
      ['SIGINT', 2, 130],
      ['SIGTERM', 15, 143],
      ['SIGKILL', 9, 137],
    ] as const)
      it(`${name} reaches the whole group`, async () => {
        const { seen, ended } = start(sh('sleep 100; echo not reached'));
        await until('it runs', () => seen.id > 0);
        await signal(seen.id, number);
        await ended;
        assert.deepEqual([seen.stdout, seen.exit], ['', exit]);
      });

    it('kills what runs when the deadline passes or the caller leaves', async () => {
      const mark = join(root, 'alive');
      const loop = `while true; do date +%s%N > ${mark}; sleep 0.02; done`;
      const still = async () => {
        const before_ = existsSync(mark) ? readFileSync(mark, 'utf8') : '';
        await new Promise((resolve) => setTimeout(resolve, 200));
        return before_ !== readFileSync(mark, 'utf8');
      };
      const error = await failure(call('Execute', sh(loop), 1000));
      assert.equal(error.code, status.DEADLINE_EXCEEDED);
      await until('it is dead', async () => !(await still()));
      const { stream, seen } = start(sh(loop));
      await until('it runs', async () => seen.id > 0 && (await still()));
      stream.cancel();
      await until('it is dead', async () => !(await still()));
    });

    it('gives a real terminal, of a size that may change', async () => {
      const terminal = bytesField(2, Buffer.concat([numberField(1, 81), numberField(2, 25)]));
      const { seen, ended } = start(Buffer.concat([sh('tty; stty size; read x; stty size; read y; exit 5'), terminal]));
      await until('it told its size', () => seen.stdout.includes('25 81'));
      assert.match(seen.stdout, /^\/dev\/pts\/\d+\r\n25 81\r\n/);
      await resize(seen.id, 120, 40);
      await input(seen.id, 'next\n');
      await until('it told its new size', () => seen.stdout.includes('40 120'));
      await endOfInput(seen.id);
      assert.equal(await ended, undefined);
      assert.equal(seen.exit, 5);
    });

    it('Ctrl-C on a terminal stops the job, and a signal the program', async () => {
      const terminal = bytesField(2, numberField(1, 80));
      const { seen, ended } = start(
        Buffer.concat([sh('trap "echo stopped" INT; echo go; sleep 100; read line'), terminal]),
      );
      await until('it runs', () => seen.stdout.includes('go'));
      await input(seen.id, '\u0003');
      await until('the trap ran', () => seen.stdout.includes('stopped'));
      await signal(seen.id, 9);
      assert.equal(await ended, undefined);
      assert.equal(seen.exit, 137);
    });

    const refusals: [what: string, method: string, request: () => Buffer, code: number, message: RegExp][] = [
      ['no command', 'Execute', () => config([]), status.INVALID_ARGUMENT, /config\.command/],
      ['no such program', 'Execute', () => config(['no-such-program']), status.NOT_FOUND, /no-such-program/],
      ['a directory outside', 'Execute', () => config(['ls'], {}, '../..'), status.PERMISSION_DENIED, /config\.cwd/],
      ['a directory that is missing', 'Start', () => config(['ls'], {}, 'none'), status.NOT_FOUND, /config\.cwd: none/],
      [
        'a variable without a name',
        'Start',
        () => config(['ls'], { 'A=B': '' }),
        status.INVALID_ARGUMENT,
        /env_vars: "A=B"/,
      ],
      [
        'a process that nobody started',
        'SendSignal',
        () => Buffer.concat([numberField(1, 1), numberField(2, 9)]),
        status.NOT_FOUND,
        /process 1/,
      ],
      [
        'a signal of another kind',
        'SendSignal',
        () => Buffer.concat([numberField(1, 1), numberField(2, 1)]),
        status.INVALID_ARGUMENT,
        /SIGTERM/,
      ],
      [
        'a terminal that is too wide',
        'Start',
        () => Buffer.concat([sh('true'), bytesField(2, numberField(1, 70_000))]),
        status.INVALID_ARGUMENT,
        /cols/,
      ],
      ['bytes that are no message', 'Execute', () => Buffer.from('ff', 'hex'), status.INVALID_ARGUMENT, /ends within/],
      [
        'more output than a message holds',
        'Execute',
        () => sh('head -c 5000000 /dev/zero'),
        status.RESOURCE_EXHAUSTED,
        /Use Start/,
      ],
      ['a method that does not exist', 'Fork', () => sh('true'), status.UNIMPLEMENTED, /Fork/],
    ];
    for (const [what, method, request, code, message] of refusals)
      it(`refuses ${what}`, async () => {
        const error =
          method === 'Start'
            ? ((await start(request()).ended) as ServiceError)
            : await failure(call(method, request()));
        assert.deepEqual([error?.code, message.test(error?.details ?? '')], [code, true], error?.details);
      });

    it('refuses to resize what has no terminal', async () => {
      const { stream, seen } = start(sh('sleep 100'));
      await until('it runs', () => seen.id > 0);
      assert.equal((await failure(resize(seen.id, 10, 10))).code, status.FAILED_PRECONDITION);
      stream.cancel();
    });

    it('tells plain HTTP what this port is for', async () => {
      const { connect } = await import('node:http2');
      const session = connect(`http://${client.getChannel().getTarget().replace(/^dns:/, '')}`);
      const [headers] = await once(session.request({ ':path': '/' }).end(), 'response');
      assert.equal(headers[':status'], 415);
      session.close();
    });
  });
});
