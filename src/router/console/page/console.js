/** @import { Client, Sandbox } from './client.js' */
import { createClient, Refusal } from './client.js';
import { showDetails } from './details.js';
import { byId, showTable } from './table.js';

/** Many changes at once are one reading. */
const GATHER_MS = 150;
/** Before the stream of events is asked for again. */
const AGAIN_MS = 2000;

const filter = byId('filter', HTMLInputElement);
const notice = byId('notice', HTMLParagraphElement);
const connection = byId('connection', HTMLParagraphElement);
const entry = byId('entry', HTMLFormElement);
const key = byId('key', HTMLInputElement);

entry.addEventListener('submit', async (event) => {
  event.preventDefault();
  const refusal = byId('refusal', HTMLParagraphElement);
  const client = createClient(key.value.trim());
  try {
    const sandboxes = await client.sandboxes();
    key.value = '';
    refusal.textContent = '';
    open(client, sandboxes);
  } catch (error) {
    refusal.textContent = error instanceof Refusal ? error.message : 'The router does not answer.';
  }
});

/** Shows everything, and keeps it as it is until its user leaves. @param {Client} client @param {Sandbox[]} first */
function open(client, first) {
  let sandboxes = first;
  /** @type {{name: string, namespace: string} | undefined} */
  let shown;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let gathering;
  const leaving = new AbortController();

  function show() {
    showTable(sandboxes, filter.value, {
      open: (sandbox) => attempt(() => openSandbox(client, sandbox)),
      pause: (sandbox) => attempt(() => client.pause(sandbox)),
      resume: (sandbox) => attempt(() => client.resume(sandbox)),
      details,
    });
  }
  /** @param {Sandbox} sandbox */
  function details(sandbox) {
    shown = sandbox;
    void showDetails(sandbox, client, attempt);
  }
  /** @param {() => Promise<unknown>} act */
  async function attempt(act) {
    notice.textContent = '';
    try {
      await act();
    } catch (error) {
      notice.textContent = error instanceof Refusal ? error.message : 'The router does not answer.';
    }
  }
  async function read() {
    sandboxes = await client.sandboxes();
    if (leaving.signal.aborted) return;
    show();
    const again = sandboxes.find(({ name, namespace }) => name === shown?.name && namespace === shown?.namespace);
    const aside = byId('details', HTMLElement);
    if (aside.hidden) return;
    if (again === undefined) aside.hidden = true;
    else details(again);
  }
  function changed() {
    clearTimeout(gathering);
    gathering = setTimeout(() => void read().catch(() => {}), GATHER_MS);
  }
  async function follow() {
    while (!leaving.signal.aborted) {
      try {
        connection.textContent = 'live';
        await client.follow(changed, leaving.signal);
      } catch (error) {
        if (error instanceof Refusal && (error.status === 401 || error.status === 403)) return leave(error.message);
      }
      if (leaving.signal.aborted) return;
      connection.textContent = 'not live: asking again';
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      await read().catch(() => {});
    }
  }
  /** @param {string} why */
  function leave(why) {
    leaving.abort();
    clearTimeout(gathering);
    view(false);
    byId('refusal', HTMLParagraphElement).textContent = why;
  }

  view(true);
  filter.addEventListener('input', show, { signal: leaving.signal });
  byId('leave', HTMLButtonElement).addEventListener('click', () => leave(''), { signal: leaving.signal });
  show();
  void follow();
}

/** Opens a sandbox's own page in a new tab, by a link for one use. @param {Client} client @param {Sandbox} sandbox */
async function openSandbox(client, sandbox) {
  const url = await client.link(sandbox);
  // By a link that tells its page nothing of this one.
  const anchor = Object.assign(document.createElement('a'), {
    href: url,
    target: '_blank',
    rel: 'noopener noreferrer',
  });
  anchor.click();
}

/** @param {boolean} inside */
function view(inside) {
  entry.hidden = inside;
  byId('sandboxes', HTMLElement).hidden = !inside;
  byId('leave', HTMLButtonElement).hidden = !inside;
  byId('details', HTMLElement).hidden = true;
  connection.textContent = '';
  notice.textContent = '';
  if (!inside) byId('rows', HTMLTableSectionElement).replaceChildren();
}
