/** @import { Client, Sandbox } from './client.js' */
import { actionButton, byId, element, stateLabel } from './table.js';

/** Shows one sandbox beside the table. @param {Sandbox} sandbox @param {Client} client @param {(act: () => Promise<unknown>) => Promise<void>} attempt */
export async function showDetails(sandbox, client, attempt) {
  const aside = byId('details', HTMLElement);
  const snapshots = element('ol');
  const facts = element('dl');
  /** @type {[string, Node | string][]} */
  const known = [
    ['Namespace', sandbox.namespace],
    ['State', stateLabel(sandbox)],
    ['Reason', sandbox.reason],
    ['Message', sandbox.message],
    ['Path', sandbox.path],
    ['Port', String(sandbox.port)],
  ];
  for (const [name, value] of known) facts.append(element('dt', { textContent: name }), element('dd', {}, value));
  const close = actionButton('Close', async () => {
    aside.hidden = true;
  });
  aside.replaceChildren(
    element('h2', { textContent: sandbox.name }),
    facts,
    element('h3', { textContent: 'Snapshots' }),
    snapshots,
    element('p', {}, close),
  );
  aside.hidden = false;
  const items = await client.snapshots(sandbox).catch((error) => String(error.message));
  if (typeof items === 'string' || items.length === 0) {
    snapshots.append(element('li', { textContent: typeof items === 'string' ? items : 'None is kept.' }));
    return;
  }
  for (const { name, ready, createdAt } of items) {
    const restore = actionButton('Restore', () => attempt(() => client.restore(sandbox, name)), 'Start from this one');
    restore.disabled = !ready || sandbox.state !== 'paused';
    snapshots.append(
      element(
        'li',
        {},
        element('time', { textContent: createdAt.replace('T', ' ').replace(/\.\d+/, '') }),
        element('span', { textContent: name }),
        restore,
      ),
    );
  }
}
