import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createObjectCache } from '../../../src/engine/controllers/object-cache.ts';
import { type PodControllerOptions, startPodController } from '../../../src/engine/controllers/pod/index.ts';
import { createPodRecords } from '../../../src/engine/controllers/pod/pod-record.ts';
import { createLoopbackNetwork } from '../../../src/engine/network/index.ts';
import { createLogStore } from '../../../src/engine/pod-logs/index.ts';
import { type ContainerRuntime, createContainerIds } from '../../../src/engine/runtime/index.ts';
import { PODS, type Pod } from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';
import { engineWorld, removeWorld } from './engine-world.ts';

describe('the engine finds again what an earlier one left', () => {
  it('and removes what is left of a Pod that is deleted while it looks', async () => {
    const world = await engineWorld();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const failures: string[] = [];
    const runtime = {
      durableSnapshots: true,
      state: async () => {
        asked.resolve();
        await answer.promise;
        return { state: 'running' };
      },
      checkpoint: async () => ({ sizeBytes: 0 }),
      compatibility: { runtime: 'runsc 1', cpuFeatures: [] },
      list: async () => [],
      stop: async () => {},
      cpuMs: () => [],
      discardSnapshot: async () => {},
    } as unknown as ContainerRuntime;
    const options: Partial<PodControllerOptions> = {
      client: world.client,
      runtime,
      network: createLoopbackNetwork(),
      containers: createContainerIds(),
      images: { clean: async () => undefined } as never,
      logs: createLogStore({ directory: join(world.directory, 'logs'), keepBytes: 1000, failed: () => {} }),
      engineDirectory: world.directory,
      prepared: { count: 0, bytes: 0 },
      idleCpuFloorMillicores: 0,
      podSnapshotChanged: async () => ({ stands: false }),
      failed: (what, error) => failures.push(`${what}: ${error}`),
    };
    const pod = await world.create<Pod>(PODS, {
      metadata: { name: 'box' },
      spec: { containers: [{ name: 'main', image: 'i' }] },
    } as never);
    const uid = pod.metadata.uid ?? '';
    createPodRecords(join(world.directory, 'pods')).write({
      uid,
      namespace: 'default',
      name: 'box',
      containerId: 'c',
      address: '',
      startedAt: '2026-01-01T00:00:00Z',
      restartCount: 0,
    });
    // It was stopped into its snapshot just before the engine was killed.
    mkdirSync(join(world.directory, 'snapshots', uid), { recursive: true });
    // A watch as the controller's own.
    const seen = createObjectCache<Pod>(
      world.client,
      PODS,
      () => {},
      () => {},
    );
    await seen.synced;
    const controller = startPodController(options as PodControllerOptions);
    await asked.promise;
    await world.client.delete(PODS, { namespace: 'default', name: 'box' }, { gracePeriodSeconds: 0 });
    await until('watches have told of it', () => seen.get('default/box') === undefined);
    answer.resolve();
    await controller.recovered;
    await until('its record is gone', () => readdirSync(join(world.directory, 'pods')).length === 0);
    await controller.hibernate();
    seen.close();
    options.logs?.close();
    await world.close();
    removeWorld(world);
    assert.deepEqual(failures, []);
  });
});
