import { connect } from 'node:net';
import type { Container, Probe } from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import { grpcProblem } from './grpc-probe.ts';
import { httpGet, portNumber } from './http-get.ts';

/** What a probe needs to reach a container. */
export interface ProbeTarget {
  address: string;
  container: Container;
  exec(command: string[], timeoutMs: number): Promise<number>;
}

/** A container that a runtime runs by this id. */
export function probeTarget(
  runtime: Pick<ContainerRuntime, 'exec'>,
  { id, address, container }: { id: string; address: string; container: Container },
): ProbeTarget {
  return {
    address,
    container,
    exec: async (command, timeoutMs) => (await runtime.exec(id, command, { timeoutMs })).exitCode,
  };
}

/**
 * One attempt. Undefined for success (Kubernetes' rules: 200 to 399 for HTTP, an accepted connection for TCP, exit code 0 for exec, SERVING for gRPC), else what was wrong.
 */
export async function problemOf(probe: Probe, target: ProbeTarget): Promise<string | undefined> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.exec !== undefined) {
      const exitCode = await target.exec(probe.exec.command, timeoutMs);
      return exitCode === 0 ? undefined : `command ended with ${exitCode}`;
    }
    if (probe.grpc !== undefined) return await grpcProblem(target.address, probe.grpc, timeoutMs);
    if (probe.httpGet === undefined)
      return await connectProblem(target.address, portNumber(target.container, probe.tcpSocket?.port), timeoutMs);
    const statusCode = await httpGet(probe.httpGet, target, AbortSignal.timeout(timeoutMs));
    return statusCode >= 200 && statusCode < 400 ? undefined : `HTTP probe failed with statuscode: ${statusCode}`;
  } catch (error) {
    return (error as Error).message || (error as { code?: string }).code || 'no answer';
  }
}

function connectProblem(host: string, port: number, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const end = (problem?: string) => {
      socket.destroy();
      resolve(problem);
    };
    socket
      .on('connect', () => end())
      .on('timeout', () => end(`port ${port} does not accept within ${timeoutMs} ms`))
      .on('error', (error) => end(error.message));
  });
}
