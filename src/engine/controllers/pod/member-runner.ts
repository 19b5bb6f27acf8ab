import type { Container, Pod } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import { containerPath, logKey } from '../../pod-containers.ts';
import type { LogStore } from '../../pod-logs/index.ts';
import type { ContainerRuntime, ContainerSpec } from '../../runtime/index.ts';
import { rfc3339 } from '../conditions.ts';
import type { EventRecorder } from '../events.ts';
import { processRevision } from './clone.ts';
import { awaitsHook, followContainer, startsLater } from './follow-container.ts';
import type { ContainerHooks } from './hooks.ts';
import { lastLines } from './last-lines.ts';
import { type LocalPod, localKey, scheduleRestart } from './local-pods.ts';
import { type Member, nextStep, restartsAfter } from './members.ts';
import type { PodImages } from './pod-images.ts';
import type { PodRecords } from './pod-record.ts';
import { PodRefusedError } from './refusals.ts';
import { type SnapshotMembers, seedSnapshotId } from './snapshots.ts';
import type { SpecWriter } from './spec-writer.ts';
import { waitingReason } from './start-failure.ts';
import type { ContainerEnd, ContainerPhase } from './status.ts';

/** What running containers that share a sandbox needs. */
export interface MemberRunnerOptions {
  runtime: ContainerRuntime;
  hooks: ContainerHooks;
  images: PodImages;
  specOf: SpecWriter;
  events: EventRecorder;
  records: PodRecords;
  logs: LogStore;
  now(): Date;
  /** The state of this Pod (`namespace/name`) changed. */
  changed(key: string): void;
}

/** What restoring a sandbox takes besides its holder; or what one of its containers waits for. */
export type MemberSpecs = { specs: ContainerSpec[] } | { waiting: { reason: string; message?: string } };

/** Runs the containers of Pods that have several. A Pod with one has no members: all of this does nothing for it. */
export interface MemberRunner {
  /** Begins whatever can be begun now, and ends what is over. */
  advance(pod: Pod, local: LocalPod): Promise<void>;
  /** What members of a snapshot are restored by. */
  specsOf(pod: Pod, local: LocalPod, taken: SnapshotMembers | undefined): Promise<MemberSpecs>;
  /** They go on from a snapshot. */
  restored(pod: Pod, local: LocalPod, taken: SnapshotMembers | undefined): void;
  /** They run since an earlier engine, or ended meanwhile: resolves with what makes this known. */
  recover(pod: Pod, local: LocalPod): Promise<() => void>;
  /** Those that are in the memory of the sandbox now, or have done their work. */
  present(local: LocalPod): SnapshotMembers | undefined;
  /** Nobody looks after them any more: their sandbox is stopped, or about to be. */
  leave(local: LocalPod): void;
  /** Their sandbox is gone, in this way: they begin again with the next one. */
  reset(local: LocalPod, end: ContainerEnd): void;
  /** In an orderly way where the Pod is given. */
  stop(local: LocalPod, gracePeriodMs: number, pod?: Pod): Promise<void>;
}

/** Creates a {@link MemberRunner}. */
export function createMemberRunner(options: MemberRunnerOptions): MemberRunner {
  const { runtime, hooks, images, records, logs } = options;

  async function advance(pod: Pod, local: LocalPod): Promise<void> {
    if (local.members === undefined || local.container.phase !== 'running' || local.stopping) return;
    const step = nextStep(local.members);
    if (step === undefined) return;
    if ('end' in step) await end(local, step.end);
    else for (const member of step.start) await start(pod, local, member);
  }

  /** The Pod is over: what still runs of it is stopped. */
  async function end(local: LocalPod, outcome: 'Succeeded' | 'Failed'): Promise<void> {
    local.stopping = true;
    leave(local);
    local.following?.abort();
    await stop(local, 0);
    await runtime.stop(local.record.containerId, 0);
    const exitCode = outcome === 'Succeeded' ? 0 : 1;
    local.container = { phase: 'ended', exitCode, message: '', finishedAt: rfc3339(options.now()) };
  }

  async function start(pod: Pod, local: LocalPod, member: Member): Promise<void> {
    const { container, record } = member;
    if (member.phase.phase === 'ended') {
      record.restartCount++;
      member.phase = { phase: 'waiting', reason: 'ContainerCreating' };
    }
    try {
      const found = await images.imageFor(pod, container);
      if ('waiting' in found) {
        member.phase = { phase: 'waiting', ...found.waiting };
        return;
      }
      if (local.record.isRestored === true && sharesMemory(pod, container))
        throw new PodRefusedError(
          `${containerPath(pod, container)}.volumeMounts: the sandbox was restored from a snapshot, and gVisor lets no container that is started afterwards share its emptyDir memory; the others run on. Delete the Pod to start all of them anew`,
        );
      takeImage(member, found.image);
      const spec = await specOf(pod, local, member, found.image);
      if (seedSnapshotId(pod) !== undefined) record.processes = processRevision(spec);
      logs.opening(logKey(pod, container.name), 'start');
      await runtime.run(spec);
      record.startedAt = rfc3339(options.now());
      delete record.end;
      records.write(local.record);
      follow(pod, local, member, true);
    } catch (error) {
      const reason = waitingReason(error);
      member.phase = { phase: 'waiting', reason, message: (error as Error).message };
      restartLater(local, member);
      record.restartCount++;
    }
  }

  function specOf(pod: Pod, local: LocalPod, member: Member, image: ImageRoot): Promise<ContainerSpec> {
    const { containerId: sandbox, address } = local.record;
    // The network is the sandbox's: nothing is attached for a container in it.
    return options.specOf(pod, { id: member.id, container: member.container, image, network: { address }, sandbox });
  }

  /** Watches readiness and the end of a container that runs, new or not. */
  function follow(pod: Pod, local: LocalPod, member: Member, isNew = false): void {
    const following = new AbortController();
    const { signal } = following;
    member.following = following;
    const { id, container } = member;
    member.phase = { phase: 'running', ready: false };
    member.isHooked = awaitsHook(container, isNew);
    member.started = !startsLater(container, isNew);
    const listener = {
      hooked: () => {
        if (member.isHooked !== true) return;
        member.isHooked = false;
        options.changed(localKey(local));
      },
      started: () => {
        if (member.started) return;
        member.started = true;
        options.changed(localKey(local));
      },
      ready: (ready: boolean) => {
        if (signal.aborted || member.phase.phase !== 'running') return;
        member.phase = { phase: 'running', ready };
        options.changed(localKey(local));
      },
      ended: (exitCode: number, failedProbe: boolean) => ended(pod, local, member, exitCode, failedProbe),
    };
    const place = { pod, container, id, address: local.record.address };
    followContainer(options, place, { isNew, withProbes: member.kind !== 'init' }, listener, signal);
  }

  async function ended(
    pod: Pod,
    local: LocalPod,
    member: Member,
    exitCode: number,
    failedProbe: boolean,
  ): Promise<void> {
    if (local.stopping || member.following?.signal.aborted === true) return;
    member.following?.abort();
    member.started = false;
    member.isHooked = false;
    const message = await lastLines(logs.pathOf(logKey(pod, member.container.name)));
    const ending = { exitCode, message, finishedAt: rfc3339(options.now()) };
    // A snapshot has those that run, and only they are restored.
    await runtime.stop(member.id, 0);
    takeEnd(pod, local, member, ending, failedProbe);
    records.write(local.record);
    options.changed(localKey(local));
  }

  function takeEnd(pod: Pod, local: LocalPod, member: Member, ending: ContainerEnd, failedProbe = false): void {
    member.lastEnd = ending;
    member.record.end = ending;
    member.phase = restartsAfter(pod, member.kind, failedProbe ? 137 : ending.exitCode)
      ? { phase: 'ended', ...ending, restartInMs: restartLater(local, member) }
      : { phase: 'ended', ...ending };
  }

  function restartLater(local: LocalPod, member: Member): number {
    return scheduleRestart(member, member.record, () => options.changed(localKey(local)));
  }

  function leave({ members = [] }: LocalPod): void {
    for (const member of members) {
      member.following?.abort();
      clearTimeout(member.restartTimer);
      delete member.restartTimer;
    }
  }

  async function stop({ members = [], record }: LocalPod, gracePeriodMs: number, pod?: Pod): Promise<void> {
    const { address } = record;
    await Promise.all(
      members.map(({ id, container, phase }) =>
        pod === undefined || phase.phase !== 'running'
          ? runtime.stop(id, gracePeriodMs)
          : hooks.stop({ pod, id, address, container }, gracePeriodMs),
      ),
    );
  }

  return {
    advance,
    leave,
    stop,

    specsOf: async (pod, local, taken) => {
      const specs: ContainerSpec[] = [];
      for (const member of local.members ?? []) {
        const state = taken?.[member.container.name];
        if (state === undefined || state.end !== undefined) continue;
        const found = await images.imageFor(pod, member.container, state.imageDigest);
        if ('waiting' in found) return found;
        takeImage(member, found.image);
        specs.push(await specOf(pod, local, member, found.image));
        logs.opening(logKey(pod, member.container.name), 'restore');
      }
      return { specs };
    },

    restored: (pod, local, taken) => {
      for (const member of local.members ?? []) {
        const state = taken?.[member.container.name];
        if (state?.end !== undefined) takeEnd(pod, local, member, state.end);
        else if (state !== undefined) {
          member.record.startedAt = rfc3339(options.now());
          follow(pod, local, member);
        }
      }
    },

    recover: async (pod, local) => {
      const { members = [] } = local;
      const found = await Promise.all(members.map(({ id }) => runtime.state(id)));
      return () => {
        // First of all: whoever is told of one of them must not find another waiting that runs.
        for (const [index, member] of members.entries())
          if (found[index]?.state === 'running') member.phase = { phase: 'running', ready: false };
        for (const [index, member] of members.entries()) {
          const { end, startedAt } = member.record;
          const state = found[index];
          if (end !== undefined) takeEnd(pod, local, member, end);
          else if (state?.state === 'running') follow(pod, local, member);
          else if (startedAt !== undefined) {
            const exitCode = state?.state === 'exited' ? state.exitCode : 137;
            takeEnd(pod, local, member, { exitCode, message: '', finishedAt: rfc3339(options.now()) });
          }
        }
      };
    },

    present: ({ members }) =>
      members === undefined
        ? undefined
        : Object.fromEntries(
            members
              .filter(({ phase }) => phase.phase === 'running' || isOver(phase))
              .map(({ container, phase, record: { end, image } }) => [
                container.name,
                {
                  ...(isOver(phase) && end !== undefined ? { end } : {}),
                  ...(image === undefined ? {} : { imageDigest: image.digest }),
                },
              ]),
          ),

    reset: (local, end) => {
      leave(local);
      for (const member of local.members ?? []) {
        if (member.record.startedAt !== undefined) member.record.restartCount++;
        if (member.phase.phase === 'running') member.lastEnd = end;
        delete member.record.startedAt;
        delete member.record.end;
        member.phase = { phase: 'waiting', reason: 'PodInitializing' };
        member.started = false;
      }
    },
  };
}

function sharesMemory(pod: Pod, { volumeMounts = [] }: Container): boolean {
  const inMemory = (pod.spec.volumes ?? []).filter(({ emptyDir }) => emptyDir !== undefined).map(({ name }) => name);
  return volumeMounts.some(({ name }) => inMemory.includes(name));
}

/** Whether it ended for good. */
function isOver(phase: ContainerPhase): boolean {
  return phase.phase === 'ended' && phase.restartInMs === undefined;
}

function takeImage({ record }: Member, { pulled }: ImageRoot): void {
  if (pulled === undefined) delete record.image;
  else record.image = pulled;
}
