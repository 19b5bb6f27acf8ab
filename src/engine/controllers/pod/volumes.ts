import { chmodSync, chownSync, lstatSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Container, Pod } from '../../../kubernetes/index.ts';
import { containerPath } from '../../pod-containers.ts';
import type { RuntimeMount, SandboxHolder } from '../../runtime/index.ts';
import type { ClaimDirectory } from './claim-volumes.ts';
import type { DataReference, PodData } from './pod-data.ts';
import { type PodPlace, podField } from './pod-fields.ts';
import { quantityBytes } from './quantity.ts';
import { PodConfigError, PodRefusedError } from './refusals.ts';

/** Which key becomes which file. */
interface KeyToPath {
  key: string;
  path: string;
  mode?: number;
}

/** Files from the keys of a ConfigMap or Secret. */
interface DataSource extends DataReference {
  secretName?: string;
  items?: KeyToPath[];
  defaultMode?: number;
}

/** Files from fields of the Pod. */
interface DownwardSource {
  items?: { path: string; fieldRef?: { fieldPath: string }; mode?: number }[];
  defaultMode?: number;
}

/** A volume of a Pod, as far as the engine knows its sources. */
interface Volume {
  name: string;
  emptyDir?: { sizeLimit?: string };
  configMap?: DataSource;
  secret?: DataSource;
  downwardAPI?: DownwardSource;
  projected?: {
    defaultMode?: number;
    sources?: { configMap?: DataSource; secret?: DataSource; downwardAPI?: DownwardSource }[];
  };
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
}

/** A file to be in a volume. */
interface VolumeFile {
  path: string;
  content: Buffer;
  mode: number;
}

/** Where volumes come from and go to. */
export interface VolumeOptions extends PodPlace {
  data: PodData;
  /** Files made for this container; they go with its Pod. */
  directory: string;
  /** Host directories that stand for the emptyDirs of the Pod where several containers share them. */
  sharedMemory?: readonly SharedMemory[];
  /** Host directory of a claim, made if it is not there. @throws PodConfigError if there is no such claim */
  claimDirectory(claimName: string): Promise<ClaimDirectory>;
}

/** An emptyDir that several containers share. */
export type SharedMemory = SandboxHolder['sharedMemory'][number];

const DEFAULT_MODE = 0o644;

/** The emptyDirs of a Pod of several containers: a host directory for each, which stays empty and stands for memory of their sandbox. */
export function sharedMemoryOf(pod: Pod, directory: string): SharedMemory[] {
  return ((pod.spec.volumes ?? []) as Volume[]).flatMap(({ name, emptyDir }) => {
    if (emptyDir === undefined) return [];
    const path = join(directory, '.shared', name);
    mkdirSync(path, { recursive: true, mode: 0o755 });
    return [{ name, path, ...sizeOf(emptyDir) }];
  });
}

function sizeOf({ sizeLimit }: NonNullable<Volume['emptyDir']>): { sizeBytes?: number } {
  return sizeLimit === undefined ? {} : { sizeBytes: quantityBytes(sizeLimit) };
}

/**
 * Makes the volumes of a Pod that its container mounts, and says where they are mounted. `emptyDir` is memory of the sandbox, so that it is part of a
 * snapshot; a claim is a directory of this machine; files from ConfigMaps, Secrets and fields are as they were when the container started, read-only.
 * @throws PodRefusedError for what the engine does not do, PodConfigError for what is not there
 */
export async function mountsOf(container: Container, options: VolumeOptions): Promise<RuntimeMount[]> {
  const mounts: RuntimeMount[] = [];
  const inMemory = new Set<string>();
  const mounted = new Map<string, ClaimDirectory | undefined>();
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    const field = `${containerPath(options.pod, container)}.volumeMounts[${index}]`;
    const volumes = (options.pod.spec.volumes ?? []) as Volume[];
    const position = volumes.findIndex(({ name }) => name === mount.name);
    const volume = volumes[position];
    if (volume === undefined) throw new PodRefusedError(`${field}.name: there is no volume "${mount.name}"`);
    requirePath(mount.mountPath.replace(/^\//, ''), `${field}.mountPath`);
    if (!mount.mountPath.startsWith('/')) throw new PodRefusedError(`${field}.mountPath: must be absolute`);
    if ((mount as { subPathExpr?: string }).subPathExpr !== undefined)
      throw new PodRefusedError(`${field}.subPathExpr: this engine knows subPath only`);
    const subPath = mount.subPath === undefined || mount.subPath === '' ? undefined : mount.subPath;
    if (subPath !== undefined) requirePath(subPath, `${field}.subPath`);
    if (!mounted.has(volume.name))
      mounted.set(volume.name, await sourceOf(volume, `spec.volumes[${position}]`, options));
    const source = mounted.get(volume.name);
    if (source === undefined) {
      if (subPath !== undefined) throw new PodRefusedError(`${field}.subPath: an emptyDir of this engine has none`);
      const shared = options.sharedMemory?.find(({ name }) => name === volume.name);
      if (shared === undefined && inMemory.has(volume.name))
        throw new PodRefusedError(`${field}: this engine mounts an emptyDir in one place only`);
      inMemory.add(volume.name);
      const readOnly = mount.readOnly === true;
      if (shared === undefined)
        mounts.push({ destination: mount.mountPath, readOnly, ...sizeOf(volume.emptyDir ?? {}) });
      else mounts.push({ destination: mount.mountPath, source: shared.path, readOnly });
      continue;
    }
    const writable = volume.persistentVolumeClaim !== undefined && volume.persistentVolumeClaim.readOnly !== true;
    const isClaim = volume.persistentVolumeClaim !== undefined;
    const path =
      subPath === undefined ? source.path : isClaim ? partOfClaim(source, subPath, field) : join(source.path, subPath);
    mounts.push({ destination: mount.mountPath, source: path, readOnly: !writable || mount.readOnly === true });
  }
  return mounts;
}

/**
 * Part of a claim, made where it is not there. What runs in sandboxes writes into claims: a link that it leaves there must not lead the mount elsewhere on this
 * machine.
 */
function partOfClaim({ path, shared }: ClaimDirectory, subPath: string, field: string): string {
  if (shared) throw new PodRefusedError(`${field}.subPath: another Pod uses the claim now; mount all of it`);
  let current = path;
  for (const part of subPath.split('/').filter((name) => name !== '' && name !== '.')) {
    current = join(current, part);
    const found = lstatSync(current, { throwIfNoEntry: false });
    if (found === undefined) {
      mkdirSync(current);
      chmodSync(current, 0o777);
    } else if (!found.isDirectory() && !found.isFile())
      throw new PodRefusedError(`${field}.subPath: "${part}" is neither a directory nor a file in the claim`);
  }
  return current;
}

/** Host path of a volume; undefined for memory. */
async function sourceOf(volume: Volume, field: string, options: VolumeOptions): Promise<ClaimDirectory | undefined> {
  const { data, directory, claimDirectory } = options;
  if (volume.emptyDir !== undefined) return undefined;
  if (volume.persistentVolumeClaim !== undefined) return await claimDirectory(volume.persistentVolumeClaim.claimName);
  const sources = volume.projected === undefined ? [volume] : (volume.projected.sources ?? []);
  const defaultMode = volume.projected?.defaultMode;
  const files: VolumeFile[] = [];
  let known = volume.projected !== undefined;
  for (const [index, source] of sources.entries()) {
    const at = volume.projected === undefined ? field : `${field}.projected.sources[${index}]`;
    const { configMap, secret, downwardAPI } = source;
    if (configMap !== undefined)
      files.push(...filesFrom(await data.configMap(configMap), configMap, defaultMode, `${at}.configMap`));
    else if (secret !== undefined) {
      const reference = { name: secret.secretName ?? secret.name, optional: secret.optional };
      files.push(...filesFrom(await data.secret(reference), secret, defaultMode, `${at}.secret`));
    } else if (downwardAPI !== undefined)
      files.push(...downwardFiles(downwardAPI, defaultMode, `${at}.downwardAPI`, options));
    else known = false;
    known ||= configMap !== undefined || secret !== undefined || downwardAPI !== undefined;
    if (!known) {
      const what = Object.keys(source).filter((key) => key !== 'name')[0] ?? 'nothing';
      throw new PodRefusedError(
        `${at}: this engine has no volumes of ${what}; it has emptyDir, configMap, secret, downwardAPI, projected of these, and persistentVolumeClaim`,
      );
    }
  }
  const path = join(directory, 'volumes', volume.name);
  writeFiles(path, files, options.pod);
  return { path, shared: false };
}

function filesFrom(
  values: ReadonlyMap<string, Buffer> | undefined,
  { items, defaultMode, optional }: DataSource,
  projectedMode: number | undefined,
  field: string,
): VolumeFile[] {
  const mode = defaultMode ?? projectedMode ?? DEFAULT_MODE;
  if (values === undefined) return [];
  const wanted: KeyToPath[] = items ?? [...values.keys()].map((key) => ({ key, path: key }));
  return wanted.flatMap(({ key, path, mode: ownMode }, index) => {
    requirePath(path, `${field}.items[${index}].path`);
    const content = values.get(key);
    if (content !== undefined) return [{ path, content, mode: ownMode ?? mode }];
    if (optional === true) return [];
    throw new PodConfigError(`${field}: references non-existent key "${key}"`);
  });
}

function downwardFiles(
  { items = [], defaultMode }: DownwardSource,
  projectedMode: number | undefined,
  field: string,
  place: PodPlace,
): VolumeFile[] {
  return items.map(({ path, fieldRef, mode }, index) => {
    requirePath(path, `${field}.items[${index}].path`);
    const value = fieldRef === undefined ? undefined : podField(place, fieldRef.fieldPath);
    if (value === undefined)
      throw new PodRefusedError(`${field}.items[${index}]: this engine knows no such field, and no resourceFieldRef`);
    return { path, content: Buffer.from(value), mode: mode ?? defaultMode ?? projectedMode ?? DEFAULT_MODE };
  });
}

/** Files of the Pod's group where it has one, so that others than root may read those that are not for everybody. */
function writeFiles(directory: string, files: VolumeFile[], pod: Pod): void {
  const { fsGroup } = (pod.spec.securityContext ?? {}) as { fsGroup?: number };
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  for (const { path, content, mode } of files) {
    const target = join(directory, path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    writeFileSync(target, content);
    if (fsGroup !== undefined && process.getuid?.() === 0) chownSync(target, 0, fsGroup);
    chmodSync(target, (mode & 0o777) | (fsGroup === undefined ? 0 : (mode & 0o400) >> 3));
  }
}

/** A path that stays below where it begins. @throws PodRefusedError that names the field */
function requirePath(path: string, field: string): void {
  const parts = path.split('/');
  if (path === '' || path.startsWith('/') || path.includes('\0') || path.includes(':') || parts.includes('..'))
    throw new PodRefusedError(`${field}: "${path}" must be a relative path without ".." and ":"`);
}
