import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { stringify } from 'yaml';
import { writePrivate } from './private-file.ts';

/** What a client needs to reach the engine. */
export interface KubeconfigOptions {
  /** `https://127.0.0.1:6440`. */
  server: string;
  caPem: string;
  token: string;
  /** Namespace that commands without one mean; `default` by default. */
  namespace?: string;
}

/** Writes a kubeconfig that needs no other file, readable by its owner only. */
export function writeKubeconfig(
  path: string,
  { server, caPem, token, namespace = 'default' }: KubeconfigOptions,
): void {
  const name = 'sandbox-router';
  mkdirSync(dirname(path), { recursive: true });
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: { server, 'certificate-authority-data': Buffer.from(caPem).toString('base64') } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace } }],
    users: [{ name, user: { token } }],
  };
  writePrivate(path, stringify(config));
}
