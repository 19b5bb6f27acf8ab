import type { Duplex, Readable, Writable } from 'node:stream';
import type { ApiObject } from '../object.ts';

/** A command to run inside a container. */
export interface PodCommand {
  container: string;
  command: string[];
  /** Whether it gets input; else its input is empty. */
  stdin: boolean;
  /** Whether it gets a terminal: output and errors are one stream then. */
  terminal: boolean;
}

/** A command that runs. */
export interface RunningCommand {
  stdin: Writable;
  stdout: Readable;
  /** Absent with a terminal. */
  stderr?: Readable;
  /** Tells the terminal its size in characters; nothing without a terminal. */
  resize(columns: number, rows: number): void;
  /** Resolves with the exit code. @throws Error for a command that could not be started */
  exited: Promise<number>;
  /** Ends it: nobody listens any more. */
  kill(): void;
}

/** Ways into the containers of running Pods. Failures throw; their message is told to the client. */
export interface PodStreams {
  exec(pod: ApiObject, command: PodCommand): Promise<RunningCommand>;
  /** Connects to a port that something listens on inside the Pod. */
  connect(pod: ApiObject, port: number): Promise<Duplex>;
}
