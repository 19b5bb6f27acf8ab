import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { projectRoot } from '../support/checkout.ts';
import { run } from '../support/deploy-tools.ts';
import { freePort } from '../support/free-port.ts';
import { missingTool, toolPath } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';
import { type Command, SCRIPT } from './kubectl-commands.ts';

/** The pinned kubectl, and the machine's own where it has one. */
function kubectls(): string[] {
  const own = (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, 'kubectl'));
  return [toolPath('kubectl'), ...own.filter((path) => existsSync(path)).slice(0, 1)];
}

describe('kubectl on the engine', { skip: missingTool('kubectl', 'runsc'), timeout: 900_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-kubectl-'));
  let up: RunningUp;

  before(async () => {
    up = await startUp({ directory: projectRoot, stateDirectory: join(directory, 'state'), runtime: 'gvisor' });
  });
  after(async () => {
    await up?.interrupt();
    rmSync(directory, { recursive: true, force: true });
  });

  for (const [place, program] of kubectls().entries()) {
    const namespace = `kubectl-${place}`;
    const flags = () => ['--kubeconfig', up.kubeconfig, '--namespace', namespace];
    const kubectl = (line: string[], input?: string) => run(program, [...flags(), ...line], input);
    const must = async (line: string[], input?: string): Promise<string> => {
      const { code, stdout, stderr } = await kubectl(line, input);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' }, line.join(' '));
      return stdout;
    };

    describe(`${place === 0 ? 'the pinned one' : program}`, () => {
      it('is what it says, and makes a namespace', async () => {
        if (place === 0)
          assert.match((await run(program, ['version', '--client'])).stdout, /^Client Version: v1\.34\.\d+$/m);
        assert.equal(await must(['create', 'namespace', namespace]), `namespace/${namespace} created\n`);
      });

      for (const [title, commands] of Object.entries(SCRIPT))
        describe(title, () => {
          for (const command of commands)
            it(`kubectl ${typeof command.line === 'string' ? command.line : command.line.join(' ')}`, () =>
              check(command));
        });

      async function check({ line, input, code = 0, stdout = [], stderr = /^$/ }: Command): Promise<void> {
        const said = await kubectl(typeof line === 'string' ? line.split(' ') : line, input);
        assert.equal(said.code, code, `${said.stdout}\n${said.stderr}`);
        for (const wanted of [stdout].flat()) assert.match(said.stdout, wanted);
        assert.match(said.stderr, stderr);
      }

      it('get -w tells of changes as they happen', async () => {
        const watching = spawn(program, [...flags(), 'get', 'configmaps', '-w', '-o', 'name']);
        let seen = '';
        watching.stdout.on('data', (chunk: Buffer) => {
          seen += chunk.toString();
        });
        try {
          await must(['create', 'configmap', 'watched']);
          await until('the new object is seen', () => /^configmap\/watched$/m.test(seen));
        } finally {
          watching.kill();
          await must(['delete', 'configmap', 'watched']);
        }
      });

      it('edit opens what there is and applies what comes of it, unless that is wrong', async () => {
        await must(['create', 'configmap', 'edited', '--from-literal=colour=red']);
        const edit = (change: string) =>
          new Promise<{ code: number; stdout: string; stderr: string }>((resolve) =>
            execFile(
              program,
              [...flags(), 'edit', 'configmap', 'edited'],
              { env: { ...process.env, KUBE_EDITOR: `sed -i ${change}`, TMPDIR: directory } },
              (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
            ),
          );
        assert.deepEqual(await edit('s/red/green/'), { code: 0, stdout: 'configmap/edited edited\n', stderr: '' });
        assert.equal(await must(['get', 'configmap', 'edited', '-o', 'jsonpath={.data.colour}']), 'green');
        const refused = await edit('s/colour:/..:/');
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /^error: configmaps "edited" is invalid\n[\s\S]*no valid changes were saved/);
        assert.equal(await must(['get', 'configmap', 'edited', '-o', 'jsonpath={.data.colour}']), 'green');
        await must(['delete', 'configmap', 'edited']);
      });

      it('wait --for=delete ends when the object is gone', async () => {
        await must(['create', 'configmap', 'shortlived']);
        const waiting = must(['wait', '--for=delete', 'configmap/shortlived', '--timeout=60s']);
        await must(['delete', 'configmap', 'shortlived']);
        assert.match(await waiting, /^(configmap\/shortlived condition met\n)?$/);
      });

      it('logs: all, the last, with times, what comes, what was before a restart', async () => {
        const script = 'for i in 1 2 3; do echo line $i; sleep 0.4; done; echo trouble >&2; exit 5';
        const pod = {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'talker' },
          spec: {
            terminationGracePeriodSeconds: 0,
            containers: [{ name: 'main', image: 'sandbox-router.local/toolbox', command: ['sh', '-c', script] }],
          },
        };
        await must(['apply', '-f', '-'], JSON.stringify(pod));
        await must([
          'wait',
          '--for=jsonpath={.status.containerStatuses[0].restartCount}=1',
          'pod/talker',
          '--timeout=60s',
        ]);
        const said = 'line 1\nline 2\nline 3\ntrouble\n';
        assert.equal(await must(['logs', 'talker', '--previous']), said);
        assert.equal(await must(['logs', 'talker', '-p', '--tail=2']), 'line 3\ntrouble\n');
        assert.equal(await must(['logs', 'talker', '-p', '--limit-bytes=6']), 'line 1');
        assert.equal(await must(['logs', 'talker', '-p', '--since=1h', '-c', 'main']), said);
        const times = [...(await must(['logs', 'talker', '-p', '--timestamps'])).matchAll(/^(\S+) .+$/gm)].map(
          ([, at]) => Date.parse(at ?? ''),
        );
        assert.equal(times.length, 4);
        assert.deepEqual(
          times,
          times.toSorted((left, right) => left - right),
        );
        assert.match(
          await must(['logs', '-f', 'talker']),
          /^(line \d\n|trouble\n)*trouble\n$/,
          'a follower is left at the end',
        );
        await must(['delete', 'pod', 'talker', '--wait']);
      });

      it('exec -it gives a terminal, of the size that the caller has', async () => {
        // The size follows the start, as on any cluster: a client tells it once it is connected.
        const sized = 'for i in $(seq 200); do test "$(stty size)" = "33 101" && break; sleep 0.05; done';
        const inside = `test -t 0 && { ${sized}; stty size; exit 6; }`;
        const command = [program, ...flags(), 'exec', '-it', 'box', '--', 'sh', '-c', `'${inside}'`].join(' ');
        const said = await run('script', ['-qec', `stty rows 33 cols 101; ${command}`, '/dev/null']);
        assert.equal(said.code, 6, said.stdout);
        assert.match(said.stdout, /33 101\r?$/m);
      });

      it('cp moves files in and out, byte for byte', async () => {
        const bytes = Buffer.alloc(3_000_000, (Math.random() * 1e9).toString(36));
        const [source, copy] = [join(directory, 'bytes'), join(directory, 'copy')];
        writeFileSync(source, bytes);
        assert.equal((await kubectl(['cp', source, 'box:/tmp/bytes'])).code, 0);
        assert.equal(await must(['exec', 'box', '--', 'sh', '-c', 'wc -c < /tmp/bytes']), `${bytes.length}\n`);
        const { code, stderr } = await kubectl(['cp', 'box:/tmp/bytes', copy]);
        assert.equal(code, 0, stderr);
        assert.ok(readFileSync(copy).equals(bytes));
      });

      it('port-forward reaches a port, also one that listens on the loopback inside only', async () => {
        const server = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=7777, bind='127.0.0.1')";
        execFileSync(program, [
          ...flags(),
          'exec',
          'box',
          '--',
          'sh',
          '-c',
          // kubectl ends with the first connection that is refused.
          `cd /tmp; setsid python3 -c "${server}" >/dev/null 2>&1 </dev/null &
          until python3 -c "import socket; socket.create_connection(('127.0.0.1', 7777))" 2>/dev/null; do sleep 0.1; done`,
        ]);
        const [agent, inside] = [await freePort(), await freePort()];
        const forwarding = spawn(program, [...flags(), 'port-forward', 'pod/box', `${agent}:8888`, `${inside}:7777`]);
        let said = '';
        for (const stream of [forwarding.stdout, forwarding.stderr])
          stream.on('data', (chunk: Buffer) => {
            said += chunk.toString();
          });
        try {
          await until('it listens', () => said.includes(`Forwarding from 127.0.0.1:${inside}`));
          const answers = await Promise.all(Array.from({ length: 8 }, () => fetch(`http://127.0.0.1:${agent}/`)));
          assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
          const { code, stdout } = await run('curl', [
            ...['-sS', '--max-time', '20', '-o', '/dev/null', '-w', '%{size_download}'],
            `http://127.0.0.1:${inside}/bytes`,
          ]);
          assert.deepEqual([code, stdout], [0, '3000000'], said);
        } finally {
          const ended = once(forwarding, 'exit');
          if (forwarding.exitCode === null && forwarding.kill('SIGINT')) await ended;
        }
      });

      it('delete --wait of everything leaves nothing', async () => {
        await must(['delete', 'sandboxes', '--all', '--wait']);
        await must(['wait', '--for=delete', 'pods', '--all', '--timeout=60s']).catch(() => '');
        await until(
          'the pods are gone',
          async () => (await must(['get', 'pods', '-o', 'name', '--ignore-not-found'])) === '',
        );
        const removed = await run(program, ['--kubeconfig', up.kubeconfig, 'delete', 'namespace', namespace, '--wait']);
        assert.match(removed.stdout, /^namespace "\S+" deleted/);
        assert.equal(removed.stderr, '');
      });
    });
  }

  it('is a script of more than forty commands', () => assert.ok(Object.values(SCRIPT).flat().length > 40));

  it('leaves no process behind once clients are gone', async () => {
    const left = await new Promise<string>((resolve) =>
      execFile('ps', ['-eo', 'args'], (_error, stdout) =>
        resolve(
          stdout
            .split('\n')
            .filter((line) => line.includes(up.stateDirectory) && / exec | port-forward /.test(line))
            .join('\n'),
        ),
      ),
    );
    assert.equal(left, '');
  });
});
