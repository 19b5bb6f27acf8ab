/** @import { Sandbox } from './client.js' */

/** Rows at once: beyond, a filter says more than scrolling. */
const MOST_ROWS = 300;

/**
 * Makes an element; text is text, whatever is in it.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {Partial<HTMLElementTagNameMap[Tag]>} [properties] @param {(Node | string)[]} children
 */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** The element with this id. @template {HTMLElement} Kind @param {string} id @param {new () => Kind} kind */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/** A button that can't be pressed again until it is done. @param {string} text @param {() => Promise<unknown>} act @param {string} [title] */
export function actionButton(text, act, title = '') {
  const button = element('button', { type: 'button', textContent: text, title });
  button.addEventListener('click', async () => {
    button.disabled = true;
    await act().finally(() => {
      button.disabled = false;
    });
  });
  return button;
}

/** What a sandbox does, with its colour. @param {Sandbox} sandbox */
export function stateLabel({ state }) {
  return element('span', { className: `state ${state}`, textContent: state });
}

/**
 * Shows the sandboxes that fit the filter.
 * @param {readonly Sandbox[]} sandboxes @param {string} filter
 * @param {{open(sandbox: Sandbox): Promise<unknown>, pause(sandbox: Sandbox): Promise<unknown>, resume(sandbox: Sandbox): Promise<unknown>, details(sandbox: Sandbox): void}} act
 */
export function showTable(sandboxes, filter, act) {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = sandboxes.filter(({ name, namespace, state }) =>
    wanted.every((word) => name.includes(word) || namespace.includes(word) || state.includes(word)),
  );
  byId('rows', HTMLTableSectionElement).replaceChildren(
    ...fits.slice(0, MOST_ROWS).map((sandbox) => rowOf(sandbox, act)),
  );
  const hidden = fits.length - MOST_ROWS;
  const empty = sandboxes.length === 0 ? 'There is no sandbox yet.' : fits.length === 0 ? 'None fits the filter.' : '';
  byId('more', HTMLParagraphElement).textContent = hidden > 0 ? `${hidden} more: narrow the filter.` : empty;
  const counts = Map.groupBy(sandboxes, ({ state }) => state);
  byId('summary', HTMLParagraphElement).textContent = [...counts]
    .map(([state, { length }]) => `${length} ${state}`)
    .join(', ');
  const warning = byId('warning', HTMLParagraphElement);
  warning.hidden = sandboxes.every(({ isolated }) => isolated);
  warning.textContent = 'THE PROCESS RUNTIME ISOLATES NOTHING: sandboxes are plain processes of the engine’s user.';
}

/** @param {Sandbox} sandbox @param {Parameters<typeof showTable>[2]} act */
function rowOf(sandbox, act) {
  const { name, namespace, state, reason, message, port } = sandbox;
  const details = element('button', { type: 'button', className: 'name', textContent: name });
  details.addEventListener('click', () => act.details(sandbox));
  const steer =
    state === 'running' || state === 'starting'
      ? actionButton('Pause', () => act.pause(sandbox), 'Snapshot it and stop it')
      : actionButton('Wake', () => act.resume(sandbox), 'Start it again');
  if (state === 'finished') steer.disabled = true;
  return element(
    'tr',
    {},
    element('td', {}, details),
    element('td', { textContent: namespace }),
    element('td', {}, stateLabel(sandbox)),
    element('td', { className: 'why', textContent: state === 'running' ? '' : message || reason }),
    element('td', { textContent: String(port) }),
    element(
      'td',
      { className: 'actions' },
      actionButton('Open', () => act.open(sandbox), 'Its own page, in a new tab'),
      steer,
    ),
  );
}
