import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageError } from '../../../src/engine/images/index.ts';
import { canonicalName, parseReference } from '../../../src/engine/images/oci/reference.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

describe('image references', () => {
  const names: [reference: string, name: string][] = [
    ['app', 'docker.io/library/app:latest'],
    ['app:1.2', 'docker.io/library/app:1.2'],
    ['team/app', 'docker.io/team/app:latest'],
    ['docker.io/app', 'docker.io/library/app:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['127.0.0.1:5000/team/app:v1', '127.0.0.1:5000/team/app:v1'],
    ['registry.example.com:443/a/b-c/d__e', 'registry.example.com:443/a/b-c/d__e:latest'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    [`app@${DIGEST}`, `docker.io/library/app@${DIGEST}`],
    [`registry.example.com/app:ignored@${DIGEST}`, `registry.example.com/app@${DIGEST}`],
    ['oci:app', 'oci:app:latest'],
    ['oci:team/app:dev', 'oci:team/app:dev'],
  ];
  for (const [reference, name] of names)
    it(`${reference} is ${name}`, () => assert.equal(canonicalName(parseReference(reference)), name));

  const invalid = [
    '',
    'UPPER',
    'app:',
    'app:-tag',
    'app:a b',
    `app:${'t'.repeat(129)}`,
    'app@sha256:abcd',
    `app@md5:${'ab'.repeat(32)}`,
    `app@${DIGEST}@${DIGEST}`,
    '../app',
    'a/../b',
    'a//b',
    '/app',
    'app/',
    '-app',
    '--help',
    'docker://app',
    'oci-archive:/etc/shadow',
    'dir:/etc',
    'registry..example.com/app',
    'registry.example.com:99999999/app',
    'app\nb',
    'app\0b',
    'oci:',
    'oci:/etc',
    'oci:../up',
    'oci:a/../../b',
    'oci:.hidden',
    `oci:app@${DIGEST}`,
    'oci:app:tag:more',
    `${'a'.repeat(256)}/app`,
  ];
  for (const reference of invalid)
    it(`${JSON.stringify(reference).slice(0, 60)} is none`, () =>
      assert.throws(
        () => parseReference(reference),
        (error: unknown) =>
          error instanceof ImageError && error.code === 'image_invalid' && error.message.includes('image reference'),
      ));
});
