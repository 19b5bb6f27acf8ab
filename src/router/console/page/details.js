/** @import { Client, Sandbox } from './client.js' */
import { actionButton, byId, element, stateLabel } from './table.js';

/** Shows one sandbox beside the table. @param {Sandbox} sandbox @param {Client} client @param {(act: () => Promise<unknown>) => Promise<void>} attempt */
export async function showDetails(sandbox, client, attempt) {
  const aside = byId('details', HTMLElement);
  const events = element('ol');
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
    element('h3', { textContent: 'What happened' }),
    events,
    element('h3', { textContent: 'Snapshots' }),
    snapshots,
    element('p', {}, close),
  );
  aside.hidden = false;
  await Promise.all([
    fill(events, client.events(sandbox), 'Nothing is written of it, or not any more.', ({ summary, lastAt, count }) => [
      element('time', { textContent: shortTime(lastAt) }),
      element('span', { textContent: count > 1 ? `${summary} (${count} times)` : summary }),
    ]),
    fill(snapshots, client.snapshots(sandbox), 'None is kept.', ({ name, ready, createdAt }) => {
      const restore = actionButton(
        'Restore',
        () => attempt(() => client.restore(sandbox, name)),
        'Start from this one',
      );
      restore.disabled = !ready || sandbox.state !== 'paused';
      return [element('time', { textContent: shortTime(createdAt) }), element('span', { textContent: name }), restore];
    }),
  ]);
}

/**
 * Shows what is read, or why it can't be.
 * @template Item
 * @param {HTMLOListElement} list @param {Promise<Item[]>} reading @param {string} none @param {(item: Item) => Node[]} show
 */
async function fill(list, reading, none, show) {
  try {
    const items = await reading;
    if (items.length === 0) list.append(element('li', { textContent: none }));
    for (const item of items) list.append(element('li', {}, ...show(item)));
  } catch (error) {
    list.append(element('li', { textContent: error instanceof Error ? error.message : String(error) }));
  }
}

/** `11-26 16:15:12`, in the reader's own time. @param {string} time RFC 3339 */
function shortTime(time) {
  const at = new Date(time);
  const two = (/** @type {number} */ part) => String(part).padStart(2, '0');
  const day = `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
