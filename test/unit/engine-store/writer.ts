/** Writes one object after another and tells the parent of each acknowledged write, until it is killed. */
import { openStore } from '../../../src/engine/store/index.ts';

const store = openStore({ directory: process.argv[2] as string });
for (let index = 0; ; index++) {
  const name = `object-${process.argv[3]}-${index}`;
  const object = await store.write(
    'things',
    name,
    { apiVersion: 'v1', kind: 'Thing', metadata: { name, annotations: { filler: 'x'.repeat(2000) } } },
    undefined,
  );
  process.stdout.write(`${name} ${object.metadata.resourceVersion}\n`);
}
