import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { KubernetesObject } from '../../src/kubernetes/index.ts';
import { projectRoot } from './checkout.ts';
import { toolPath } from './tools.ts';

/** What a command said and how it ended. */
export interface Said {
  code: number;
  stdout: string;
  stderr: string;
}

/** Directory of everything that operators apply. */
export const deployDirectory = join(projectRoot, 'deploy');

/** Why tests with kubectl can't run here, or false; never with CI=true. */
export function missingKubectl(): string | false {
  if (process.env.CI === 'true') return false;
  return spawnSync('kubectl', ['version', '--client']).status !== 0 && 'kubectl is not on the PATH';
}

/** Runs a program to its end; a failure is part of the answer. */
export function run(program: string, commandLine: readonly string[], input = ''): Promise<Said> {
  return new Promise((resolve) => {
    const child = execFile(program, commandLine, { maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr: code === -1 ? `${stderr}${error?.message}` : stderr });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** The manifests that a kustomization stands for. */
export async function kustomize(directory: string): Promise<string> {
  const { code, stdout, stderr } = await run('kubectl', ['kustomize', join(deployDirectory, directory)]);
  if (code !== 0) throw new Error(`kubectl kustomize ${directory}: ${stderr}`);
  return stdout;
}

/** What Helm says of the chart with these values (`key=value`, as for --set). */
export function helmTemplate(values: readonly string[] = [], release = 'sandbox-router'): Promise<Said> {
  const chart = join(deployDirectory, 'helm/sandbox-router');
  const sets = values.flatMap((value) => ['--set', value]);
  // A Helm that was not built by its own Makefile takes the cluster for Kubernetes 1.20.
  const common = ['--namespace', 'agent-sandbox-system', '--kube-version', '1.34.0'];
  return run(toolPath('helm'), ['template', release, chart, ...common, ...sets]);
}

/** Objects of a stream of YAML documents. */
export function objectsOf(text: string): KubernetesObject[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((object) => object !== null);
}

/** `Deployment/sandbox-router` */
export function nameOf({ kind, metadata }: KubernetesObject): string {
  return `${kind}/${metadata.name}`;
}

/** kubectl as the administrator of one cluster. */
export interface ClusterSession {
  kubectl(commandLine: readonly string[], input?: string): Promise<Said>;
  /** Resolves with standard output. @throws AssertionError with standard error */
  must(commandLine: readonly string[], input?: string): Promise<string>;
  apply(text: string): Promise<string>;
  /** The command fails and says why. */
  refused(commandLine: readonly string[], why: RegExp, input?: string): Promise<void>;
}

/** kubectl with this kubeconfig. */
export function clusterSession(kubeconfig: string): ClusterSession {
  const kubectl = (commandLine: readonly string[], input?: string) =>
    run('kubectl', ['--kubeconfig', kubeconfig, ...commandLine], input);
  const must = async (commandLine: readonly string[], input?: string) => {
    const { code, stdout, stderr } = await kubectl(commandLine, input);
    assert.equal(code, 0, `kubectl ${commandLine.join(' ')}:\n${stderr}`);
    return stdout;
  };
  return {
    kubectl,
    must,
    apply: (text) => must(['apply', '--server-side', '--force-conflicts', '--validate=strict', '-f', '-'], text),
    refused: async (commandLine, why, input) => {
      const { code, stderr } = await kubectl(commandLine, input);
      assert.notEqual(code, 0, `kubectl ${commandLine.join(' ')} should have been refused`);
      assert.match(stderr, why);
    },
  };
}
