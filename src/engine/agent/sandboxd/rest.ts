import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { MultipartError, readMultipart } from '../multipart.ts';
import { AccessDeniedError, type Workspace } from '../workspace.ts';

/** Variables that /v1/metadata tells, and words in names that keep one from being told. */
const TOLD = /^SANDBOX_/;
const WITHHELD = /TOKEN|SECRET|PASSWORD|CREDENTIAL|KEY/;
const MODE = /^0[0-7]{3}$/;

/** sandboxd's Filesystem & Runtime REST API (contract section 4.3). */
export function createRestServer(workspace: Workspace, environment: NodeJS.ProcessEnv): Server {
  const startedAtMs = performance.now();
  return createServer((request, response) => {
    answer(request, response, workspace, environment, startedAtMs).catch((error: unknown) => fail(response, error));
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  workspace: Workspace,
  environment: NodeJS.ProcessEnv,
  startedAtMs: number,
): Promise<void> {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  const reads = request.method === 'GET' || request.method === 'HEAD';
  if (path === '/v1/health' && reads)
    return json(response, 200, { status: 'ok', uptime_seconds: Math.floor((performance.now() - startedAtMs) / 1000) });
  if (path === '/v1/metadata' && reads) {
    const told = Object.entries(environment).filter(([name]) => TOLD.test(name) && !WITHHELD.test(name));
    return json(response, 200, { env: Object.fromEntries(told) });
  }
  if (path !== '/v1/files' && !path.startsWith('/v1/files/'))
    throw new RestError(404, 'NOT_FOUND', `${path} is not part of this API`);
  const file = decodeURIComponent(path.slice('/v1/files/'.length));
  const parameters = new URLSearchParams(query);
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      return await read(response, workspace, file);
    case 'PUT':
      await write(request, workspace, file, parameters.get('mode') ?? '0644');
      break;
    case 'DELETE':
      await workspace.remove(file, parameters.get('recursive') === 'true');
      break;
    default:
      throw new RestError(405, 'METHOD_NOT_ALLOWED', `${request.method} is none of GET, HEAD, PUT and DELETE`);
  }
  response.writeHead(204).end();
}

async function read(response: ServerResponse, workspace: Workspace, path: string): Promise<void> {
  const { file, sizeBytes } = await workspace.openForReading(path);
  const stats = await file.stat();
  if (stats.isDirectory()) {
    await file.close();
    const entries = (await workspace.list(path)).map(({ name, size, type, mod_time, mode }) => ({
      name,
      size,
      type,
      modified_at: new Date(mod_time * 1000).toISOString(),
      mode: (mode & 0o7777).toString(8).padStart(4, '0'),
    }));
    return json(response, 200, { path: `/${path.replace(/^\/+/, '')}`, entries });
  }
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-length': sizeBytes,
    'last-modified': stats.mtime.toUTCString(),
  });
  if (response.req.method === 'HEAD' || sizeBytes === 0) {
    await file.close();
    response.end();
    return;
  }
  await pipeline(file.createReadStream({ end: sizeBytes - 1 }), response);
}

async function write(request: IncomingMessage, workspace: Workspace, path: string, mode: string): Promise<void> {
  if (!MODE.test(mode))
    throw new RestError(400, 'INVALID_ARGUMENT', `mode: ${mode} is no octal permission such as 0644`);
  const contentType = request.headers['content-type'];
  await workspace.replace(path, Number.parseInt(mode, 8), async (file) => {
    if (contentType?.startsWith('multipart/form-data') !== true) {
      await file.writeFile(request);
      return;
    }
    let found = false;
    await readMultipart(contentType, request, async (field) => {
      if (field !== 'file') return undefined;
      found = true;
      return { write: (chunk) => file.writeFile(chunk), end: async () => {} };
    });
    if (!found) throw new RestError(400, 'INVALID_ARGUMENT', 'a multipart field "file" is wanted');
  });
}

/** An answer with sandboxd's error body. */
class RestError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { status, code, message } = described(error);
  json(response, status, { code, message });
}

function described(error: unknown): Pick<RestError, 'status' | 'code' | 'message'> {
  if (error instanceof RestError) return error;
  if (error instanceof AccessDeniedError)
    return { status: 403, code: 'PERMISSION_DENIED', message: 'The path leads outside the sandbox root.' };
  if (error instanceof URIError)
    return { status: 400, code: 'INVALID_ARGUMENT', message: 'The path is not percent-encoded UTF-8.' };
  if (error instanceof MultipartError) return { status: 400, code: 'INVALID_ARGUMENT', message: error.message };
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return { status: 404, code: 'NOT_FOUND', message: 'The path does not exist.' };
    case 'ENOTDIR':
      return { status: 404, code: 'NOT_FOUND', message: 'A part of the path is no directory.' };
    case 'ENOTEMPTY':
      return { status: 409, code: 'CONFLICT', message: 'The directory is not empty; ask with recursive=true.' };
    case 'EISDIR':
    case 'EEXIST':
      return { status: 400, code: 'INVALID_ARGUMENT', message: 'A directory is in the way.' };
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return { status: 403, code: 'PERMISSION_DENIED', message: 'The sandbox may not do this.' };
    default:
      return { status: 500, code: 'INTERNAL', message };
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
