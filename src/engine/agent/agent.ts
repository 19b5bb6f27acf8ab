import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { createBusyLease, startBusySocket } from './busy.ts';
import { EXECUTE_TIMEOUT_MS, execute } from './execute.ts';
import { MultipartError, readMultipart } from './multipart.ts';
import { startSandboxd } from './sandboxd/index.ts';
import { AccessDeniedError, createWorkspace, type Workspace } from './workspace.ts';

/** Longest JSON body of /execute. */
const MOST_COMMAND_BYTES = 2 ** 20;

const port = Number(process.env.PORT ?? 8888);
const host = process.env.SANDBOX_ADDRESS ?? '0.0.0.0';
const directory = process.env.SANDBOX_WORKSPACE ?? process.env.SANDBOX_BASE_DIR ?? '/workspace';
const workspace = await createWorkspace(directory);
const busy = createBusyLease();
const server = createServer((request, response) => {
  answer(request, response, workspace).catch((error: unknown) => fail(response, error));
});
// Clocks jump over a checkpoint: an idle limit would close every kept connection at the first moment after it.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen(port, host, () => console.log(`agent listens on ${host}:${port}, workspace ${directory}`));
const busySocket = startBusySocket(
  process.env.SANDBOX_ROUTER_BUSY_SOCKET ?? '/run/sandbox-router/busy.sock',
  busy,
  (error) => console.error(`agent goes on without busy leases: ${error.message}`),
);
const endSandboxd = startSandboxd({
  workspace,
  host,
  restPort: Number(process.env.SANDBOXD_REST_PORT ?? 8080),
  grpcPort: Number(process.env.SANDBOXD_GRPC_PORT ?? 9090),
  environment: process.env,
  failed: (what, error) => console.error(`agent goes on without ${what}: ${error.message}`),
});
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    server.close(() => process.exit(0));
    endSandboxd();
    busySocket.close();
    busySocket.closeAllConnections();
    server.closeAllConnections();
  });

/** The default image's API (contract section 4.1). */
async function answer(request: IncomingMessage, response: ServerResponse, files: Workspace): Promise<void> {
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  const [, action = ''] = /^\/([a-z]*)/.exec(path) ?? [];
  const argument = decodeURIComponent(path.slice(action.length + 2));
  switch (`${request.method} ${action}`) {
    case 'GET ':
    case 'HEAD ':
      return json(response, 200, { status: 'ok', message: 'Sandbox agent is active.' });
    case 'POST execute': {
      const left = new AbortController();
      response.on('close', () => left.abort());
      const { command, timeoutMs } = await commandOf(request);
      return json(response, 200, await execute(command, directory, left.signal, timeoutMs));
    }
    case 'POST upload': {
      const saved = await upload(request, files);
      if (saved === undefined)
        return json(response, 400, { message: 'a multipart field "file" with a file name is wanted' });
      return json(response, 200, { message: `File '${saved}' uploaded successfully.` });
    }
    case 'GET download': {
      const { file, sizeBytes } = await files.openForReading(argument);
      if ((await file.stat()).isDirectory()) {
        await file.close();
        return json(response, 404, { message: 'File not found' });
      }
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': sizeBytes });
      return await pipeline(file.createReadStream({ end: Math.max(0, sizeBytes - 1) }), response);
    }
    case 'GET list':
      return json(
        response,
        200,
        (await files.list(argument)).map(({ mode: _, ...entry }) => entry),
      );
    case 'GET busy':
      return json(response, 200, busy.tell());
    case 'GET exists':
      return json(response, 200, { path: argument, exists: await files.exists(argument) });
    default:
      return json(response, 404, { message: `${request.method} ${path} is not part of this API` });
  }
}

async function commandOf(request: IncomingMessage): Promise<{ command: string; timeoutMs: number }> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > MOST_COMMAND_BYTES) throw new BadRequestError('the body is over 1 MiB');
    chunks.push(chunk);
  }
  let body: { command?: unknown; timeout_seconds?: unknown };
  try {
    body = JSON.parse(Buffer.concat(chunks).toString()) as typeof body;
  } catch {
    throw new BadRequestError('the body must be JSON such as {"command": "ls"}');
  }
  if (typeof body?.command !== 'string') throw new BadRequestError('"command" must be a text');
  const { command, timeout_seconds: seconds } = body;
  if (seconds !== undefined && seconds !== null && !(typeof seconds === 'number' && seconds > 0))
    throw new BadRequestError('"timeout_seconds" must be a number above 0');
  return {
    command,
    timeoutMs: Math.min(EXECUTE_TIMEOUT_MS, typeof seconds === 'number' ? seconds * 1000 : EXECUTE_TIMEOUT_MS),
  };
}

async function upload(request: IncomingMessage, files: Workspace): Promise<string | undefined> {
  let saved: string | undefined;
  await readMultipart(request.headers['content-type'], request, async (field, fileName) => {
    if (field !== 'file' || fileName === '') return undefined;
    const file = await files.openForWriting(fileName);
    saved = fileName;
    return { write: (chunk) => file.writeFile(chunk), end: () => file.close() };
  });
  return saved;
}

/** A request that can't be understood. */
class BadRequestError extends Error {}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof AccessDeniedError) json(response, 403, { message: 'Access denied' });
  else if (code === 'ENOENT' || code === 'ENOTDIR') json(response, 404, { message: 'File not found' });
  else if (code === 'EISDIR' || code === 'EEXIST') json(response, 400, { message: 'a directory is in the way' });
  else if (error instanceof BadRequestError || error instanceof MultipartError || error instanceof URIError)
    json(response, 400, { message: (error as Error).message });
  else json(response, 500, { message: (error as Error).message });
}

function json(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
