import { ApiError } from '../../kubernetes/index.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { WriteRequest, WriteResult } from './protocol.ts';

/** Does what workers ask for. Wakes of one sandbox that are asked for while one is under way are that one. */
export function createWorkerWrites(writer: SandboxWriter): (request: WriteRequest) => Promise<WriteResult> {
  const waking = new Map<string, Promise<WriteResult>>();

  async function write(request: WriteRequest): Promise<WriteResult> {
    const key = { namespace: request.namespace, name: request.name };
    try {
      if (request.write === 'setRunning')
        return { generation: await writer.setRunning(key, request.running, request.fence) };
      if (request.write === 'announcePause') await writer.announcePause(key, request.fence, request.announcement);
      else await writer.annotate(key, request.uid, request.annotations);
      return { generation: 0 };
    } catch (error) {
      return error instanceof ApiError ? { refusal: error.status } : { failure: (error as Error).message };
    }
  }

  return (request) => {
    if (request.write !== 'setRunning' || !request.running || request.fence !== undefined) return write(request);
    const name = `${request.namespace}/${request.name}`;
    const underWay = waking.get(name);
    if (underWay !== undefined) return underWay;
    const result = write(request).finally(() => waking.delete(name));
    waking.set(name, result);
    return result;
  };
}
