import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sandbox } from '../../src/kubernetes/index.ts';
import { projectRoot } from './checkout.ts';

/** A program of tests, and what its sandbox is called. */
export interface ProgramSandbox {
  name: string;
  namespace?: string;
  /** File in test/support. */
  program: string;
  port: number;
  environment: Record<string, string>;
  metadata?: object;
  spec?: object;
}

/** A sandbox of the built-in image that runs one file of JavaScript and may call nobody. */
export function programSandbox(options: ProgramSandbox): Sandbox {
  const { name, namespace = 'default', program, port, environment, metadata, spec } = options;
  const source = readFileSync(join(projectRoot, 'test/support', program), 'utf8');
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { name, namespace, ...metadata },
    spec: {
      podTemplate: {
        metadata: { labels: { 'sandbox-router/egress': 'none' } },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'program',
              image: 'sandbox-router.local/toolbox',
              command: ['sh', '-c', 'exec "$SANDBOX_ROUTER_NODE" --input-type=module -e "$PROGRAM_SOURCE"'],
              env: Object.entries({ PROGRAM_SOURCE: source, ...environment }).map(([key, value]) => ({
                name: key,
                value,
              })),
              ports: [{ name: 'http', containerPort: port }],
            },
          ],
        },
      },
      ...spec,
    },
  } as Sandbox;
}
