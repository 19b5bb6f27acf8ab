import type { Duplex, Readable, Writable } from 'node:stream';

/** A bind mount or tmpfs of a container; `source` is a host path, absent for tmpfs. */
export interface RuntimeMount {
  destination: string;
  source?: string;
  readOnly: boolean;
  /** Most that a tmpfs may hold. */
  sizeBytes?: number;
}

/** The root of a container as the images room lays it out: a small directory plus mounts over it. */
export interface RootFilesystem {
  /** Host directory used as the (read-only, overlaid) root. */
  path: string;
  mounts: RuntimeMount[];
}

/** Where a sandbox's traffic comes in. */
export interface NetworkAttachment {
  /** Path of the network namespace, absent where the runtime shares the host's stack. */
  namespacePath?: string;
  /** IPv4 address on which the router reaches the sandbox. */
  address: string;
  /** Script of POSIX shell that makes the namespace; absent where it is there already. Only for {@link ContainerRuntime.restore}. */
  making?: string;
}

/** All that a runtime needs to run one container. Durable: the same value is given again to restore it. */
export interface ContainerSpec {
  /** Fixed-length id (see containerId); runsc resolves unique prefixes, so lengths must be equal. */
  id: string;
  hostname: string;
  root: RootFilesystem;
  /** argv; never empty. */
  command: string[];
  env: Record<string, string>;
  workingDirectory: string;
  user: { uid: number; gid: number; additionalGids?: number[] };
  /** Nothing can be written outside of mounts. */
  readOnlyRoot?: boolean;
  /** Changes to the usual capabilities, without `CAP_`; `ALL` in `drop` leaves what `add` names. */
  capabilities?: { add: string[]; drop: string[] };
  network: NetworkAttachment;
  /** stdout and stderr go here, append only. */
  logPath: string;
  /** Of its sandbox as a whole; absent for one that is run in the sandbox of another. */
  limits?: ResourceLimits;
  /** Its place where several containers share a sandbox; absent for one that has a sandbox for itself. */
  group?: SandboxHolder | SandboxMember;
}

/** Most that the containers of a Pod may take together; what is absent is not bounded. */
export interface ResourceLimits {
  memoryBytes?: number;
  /** Thousandths of a CPU. */
  cpuMillicores?: number;
}

/** A container that is run first and holds what others in its sandbox share: kernel, network, memory. */
export interface SandboxHolder {
  role: 'holder';
  /** Host directories that stand for memory which all containers share, wherever they mount them. */
  sharedMemory: { name: string; path: string; sizeBytes?: number }[];
}

/** A container that is run in the sandbox of another. */
export interface SandboxMember {
  role: 'member';
  /** Its name in the sandbox: the same when it is restored. */
  name: string;
  /** Id of the holder. */
  sandbox: string;
}

/** What a runtime knows of a container. `exited` keeps its code until the container is deleted. */
export type ContainerState = { state: 'running' } | { state: 'exited'; exitCode: number } | { state: 'missing' };

/** Output of a command run inside a container. */
export interface ExecResult {
  exitCode: number;
  stdout: Buffer;
  stderr: Buffer;
}

/** A command that runs inside a container, with somebody at its other end. */
export interface AttachedExec {
  stdin: Writable;
  stdout: Readable;
  /** Absent with a terminal, which has one stream for both. */
  stderr?: Readable;
  /** Size of the terminal in characters. */
  resize(columns: number, rows: number): void;
  /** Resolves with the exit code. @throws RuntimeError `start_failed` for a command that could not be started inside */
  exited: Promise<number>;
  /** Ends this machine's part of it; what runs inside loses its terminal or its output. */
  kill(): void;
}

/** What a snapshot depends on and could differ when it is restored: the program that wrote it, and what the CPU offers the programs in it. */
export interface RuntimeCompatibility {
  /** `runsc release-…` */
  runtime: string;
  /** Features of the CPU as its kernel names them, sorted. */
  cpuFeatures: readonly string[];
}

/** How to take a checkpoint. */
export interface CheckpointOptions {
  /** The container goes on where it was; without it, it is stopped and removed. */
  leaveRunning?: boolean;
  /** Smaller and slower: such a snapshot is read whole before its container goes on. */
  compress?: boolean;
  /** Ids of the other containers in its sandbox: they are part of the snapshot, and removed with it. */
  members?: readonly string[];
}

/**
 * Runs containers. Implemented by `gvisor` and `process`. Every call is bounded in time; failures throw {@link RuntimeError}
 * with the tool's stderr in the message.
 */
export interface ContainerRuntime {
  readonly name: 'gvisor' | 'process';
  /** Whether snapshots outlive the engine and the machine. Where they don't, a cold start takes the place of a restore that fails. */
  readonly durableSnapshots: boolean;
  /** Whether several containers can share a sandbox. */
  readonly sharedSandboxes: boolean;
  /** What snapshots taken now can be restored with. */
  readonly compatibility: RuntimeCompatibility;
  /** Why a limit can't be kept on this machine, by resource; nothing for those that are. */
  readonly limitProblems: Partial<Record<'memory' | 'cpu' | 'pids', string>>;
  /** Version and platform for people: `runsc release-… (systrap)`. */
  readonly description: string;
  /** Starts a container; resolves once its process was started (not: ready). */
  run(spec: ContainerSpec): Promise<void>;
  /**
   * Stops the container into `directory` (created by the call). The directory appears complete and durable (temporary name, fsync,
   * rename) or not at all; when the call throws, the container runs on. With `leaveRunning` it runs on in any case.
   */
  checkpoint(id: string, directory: string, options?: CheckpointOptions): Promise<{ sizeBytes: number }>;
  /**
   * Makes a container that runs nothing and waits for {@link ContainerRuntime.restore} under its id, which takes less time then; network and log may be other ones.
   * Resolves with the memory that it takes. Absent where nothing is gained by it.
   */
  prepare?(spec: ContainerSpec): Promise<{ memoryBytes: number }>;
  /**
   * Starts a container from a checkpoint's directory, in the one that was prepared for it if there is one, and with all those that were in its sandbox then.
   * Throws RuntimeError `snapshot_corrupt` when it can't be restored.
   */
  restore(spec: ContainerSpec, directory: string, members?: readonly ContainerSpec[]): Promise<void>;
  /** Removes a snapshot and whatever it keeps alive. Unknown directories are no error. */
  discardSnapshot(directory: string): Promise<void>;
  state(id: string): Promise<ContainerState>;
  /** Resolves with the exit code when the container's main process ends (also for containers started by an earlier engine process). */
  wait(id: string, signal: AbortSignal): Promise<number>;
  /** Whether the kernel killed something of a container because its limit on memory was reached. To be asked before it is stopped. */
  wasOutOfMemory(id: string): boolean;
  /** SIGTERM, then SIGKILL after the grace period; resolves when it is gone with all its resources. Unknown ids are no error. */
  stop(id: string, gracePeriodMs: number): Promise<void>;
  exec(id: string, command: string[], options?: { timeoutMs?: number; stdin?: Buffer }): Promise<ExecResult>;
  /** Runs a command inside a container with streams of its own, and a terminal if wanted, for as long as it takes. */
  attachedExec(id: string, command: string[], options: { terminal: boolean }): Promise<AttachedExec>;
  /** Connects to a port that listens inside a container, also on its loopback where the runtime isolates. `address`: the container's. */
  connect(id: string, address: string, port: number): Promise<Duplex>;
  /** CPU that containers have used since they were started here, in milliseconds, in the order of the ids; undefined for those that do not run. */
  cpuMs(ids: readonly string[]): (number | undefined)[];
  /** Ids of every container this runtime holds state for, running or not: what a restarted engine re-attaches or cleans up. */
  list(): Promise<string[]>;
  /** Removes what all containers share, if none is left. */
  close(): Promise<void>;
}

/** A failed runtime call. Codes: `runtime_unavailable`, `start_failed`, `checkpoint_failed`, `snapshot_corrupt`, `snapshot_incompatible`, `timeout`, `not_running`. */
export class RuntimeError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RuntimeError';
    this.code = code;
  }
}
