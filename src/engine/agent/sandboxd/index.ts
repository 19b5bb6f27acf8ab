import type { Server } from 'node:net';
import type { Workspace } from '../workspace.ts';
import { createGrpcServer } from './grpc.ts';
import { createProcessService } from './process-service.ts';
import { createRestServer } from './rest.ts';

/** Where sandboxd's two servers listen; a port of 0 leaves one out. */
export interface SandboxdOptions {
  workspace: Workspace;
  host: string;
  restPort: number;
  grpcPort: number;
  environment: NodeJS.ProcessEnv;
  /** Told of a port that something else has: the rest goes on without it. */
  failed(what: string, error: Error): void;
}

/** Starts the sandboxd runtime (contract section 4.3): files over REST, processes over gRPC. Returns what ends both. */
export function startSandboxd({
  workspace,
  host,
  restPort,
  grpcPort,
  environment,
  failed,
}: SandboxdOptions): () => void {
  const rest = createRestServer(workspace, environment);
  // Clocks jump over a checkpoint: an idle limit would close every kept connection at the first moment after it.
  rest.keepAliveTimeout = 0;
  rest.requestTimeout = 0;
  const grpc = createGrpcServer(createProcessService(workspace));
  const listen = (server: Server, port: number, what: string) => {
    if (port === 0) return;
    server.on('error', (error) => failed(`${what} on ${host}:${port}`, error));
    server.listen(port, host);
  };
  listen(rest, restPort, 'sandboxd REST');
  listen(grpc, grpcPort, 'sandboxd gRPC');
  return () => {
    rest.close();
    rest.closeAllConnections();
    grpc.close();
  };
}
