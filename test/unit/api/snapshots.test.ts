import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import Fastify from 'fastify';
import {
  ApiError,
  NAME_HASH_LABEL,
  nameHash,
  POD_SNAPSHOTS,
  type ResourceClient,
  type ResourceType,
  type Sandbox,
} from '../../../src/kubernetes/index.ts';
import type { Callers } from '../../../src/router/api/caller.ts';
import { registerSnapshotRoutes, type SnapshotRoutesOptions } from '../../../src/router/api/snapshots.ts';

const KEY = { namespace: 'team', name: 'box' };
const RECORD = { ...KEY, podName: 'box', running: false, suspended: true };

/** A client of a Sandbox of a claim which is deleted at one of two moments after the snapshot was named in the claim. */
function clientOf(gone: 'before it is looked at' | 'while it is waited for'): ResourceClient {
  const owner = { apiVersion: 'v1', kind: 'SandboxClaim', name: 'box', uid: 'claim', controller: true };
  const sandbox = {
    metadata: { ...KEY, uid: 'box', resourceVersion: '1', ownerReferences: [owner] },
    spec: { podTemplate: {} },
  } as unknown as Sandbox;
  let claimed = false;
  return {
    list: async (type: ResourceType) => {
      assert.equal(type, POD_SNAPSHOTS);
      const labels = { [NAME_HASH_LABEL]: nameHash(KEY.name) };
      return {
        items: [{ metadata: { name: 'good', labels }, status: { conditions: [{ type: 'Ready', status: 'True' }] } }],
      };
    },
    get: async () => {
      if (claimed && gone === 'before it is looked at') throw new ApiError({ reason: 'NotFound', code: 404 } as never);
      return sandbox;
    },
    patch: async () => {
      claimed = true;
      return {};
    },
    watch: async function* () {
      yield { type: 'DELETED', object: sandbox };
    },
  } as unknown as ResourceClient;
}

describe('restoring a sandbox of a claim that is deleted', () => {
  for (const gone of ['before it is looked at', 'while it is waited for'] as const)
    it(`${gone}: says so, and not that its controller is slow`, async () => {
      const fastify = Fastify();
      let code: string | undefined;
      fastify.setErrorHandler((error: { code?: string }, _request, reply) => {
        code = error.code;
        return reply.code(500).send();
      });
      const callers = { sandbox: async () => ({ route: { sandbox: RECORD }, principal: {} }) } as unknown as Callers;
      registerSnapshotRoutes(fastify, callers, { client: clientOf(gone) } as unknown as SnapshotRoutesOptions);
      await fastify.inject({ method: 'POST', url: '/-/v1/sandboxes/box/restore', payload: { snapshot: 'good' } });
      assert.equal(code, 'sandbox_not_found');
      await fastify.close();
    });
});
