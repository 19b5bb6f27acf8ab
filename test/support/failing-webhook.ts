import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { makeAuthority, makeServerCertificate } from '../../src/engine/api/tls/make-certificate.ts';
import type { ResourceType } from '../../src/kubernetes/index.ts';

/** admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration. */
export const VALIDATING_WEBHOOKS: ResourceType = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
};

/** An admission webhook that never does its work. */
export interface FailingWebhook {
  url: string;
  /** For `clientConfig.caBundle`. */
  caBundle: string;
  /** Reviews it was asked for. */
  asked(): number;
  /** Answers 500 from now on, or nothing at all. */
  fail(how: 'error' | 'silence'): void;
  close(): Promise<void>;
}

/** Starts a webhook on a free loopback port. */
export async function startFailingWebhook(): Promise<FailingWebhook> {
  const authority = await makeAuthority(Date.now(), 86_400_000);
  const { certificatePem, keyPem } = await makeServerCertificate(authority, ['127.0.0.1'], Date.now(), 86_400_000);
  let asked = 0;
  let how: 'error' | 'silence' = 'error';
  const server = createServer({ cert: certificatePem, key: keyPem }, (request, response) => {
    asked++;
    request.resume();
    if (how === 'error') response.writeHead(500).end('the policy engine is out of order');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    caBundle: Buffer.from(authority.certificatePem).toString('base64'),
    asked: () => asked,
    fail: (next) => {
      how = next;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
