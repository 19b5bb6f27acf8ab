import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual, promisify } from 'node:util';
import { type CommandShell, quoted } from '../../command-shell.ts';
import { tableName } from '../links.ts';
import {
  addSandbox,
  baseRuleset,
  type OpenAddress,
  openAddresses,
  type PlacedRules,
  type RulesetOptions,
  removeSandbox,
  removeTable,
} from './ruleset.ts';

const execute = promisify(execFile);

/** What may pass between sandboxes, the machine and the world. */
export interface SandboxFirewall {
  /**
   * The rules of all sandboxes, by container id; resolves when they are in effect. Only what differs from before is written, in one transaction; the
   * first time everything is, in place of what an earlier engine left.
   * @throws FirewallError with what nftables said; nothing is changed then
   */
  apply(sandboxes: ReadonlyMap<string, PlacedRules>): Promise<void>;
  /** Opens addresses that a name stands for; resolves when they are. Ids that are not in the rules are left out. */
  open(id: string, addresses: readonly OpenAddress[]): Promise<void>;
  /** Removes all rules. */
  close(): Promise<void>;
}

/** nftables did not take a change. Code: `firewall_failed`. */
export class FirewallError extends Error {
  readonly code = 'firewall_failed';
}

/** What a firewall needs. `directory` holds the transaction that is being written. */
export interface FirewallOptions extends RulesetOptions {
  shell: CommandShell;
  directory: string;
  /** Milliseconds, of a clock that never goes back. */
  now?(): number;
}

const NFT_TIMEOUT_MS = 20_000;

/** How long an address that was opened in one process is still open when the whole table is written again. */
interface StillOpen extends OpenAddress {
  untilMs: number;
}

/**
 * One nftables table for the sandboxes of one engine. Until the first {@link SandboxFirewall.apply}, the rules of an earlier engine that was killed stay as they
 * are; where there are none, sandboxes may reach nothing.
 */
export async function createFirewall(options: FirewallOptions): Promise<SandboxFirewall> {
  const { shell, directory, now = () => performance.now() } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const opened = new Map<string, Map<string, StillOpen>>();
  let current: Map<string, PlacedRules> | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  let transactions = 0;

  if (await tableIsThere(options.engineTag))
    for (const [id, open] of await openInTable(options.engineTag)) remember(id, open);
  else await write(baseRuleset(options));

  /** One transaction at a time, in the order in which they were asked for. */
  function inTurn<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = turn.then(task);
    turn = result.catch(() => {});
    return result;
  }

  async function write(text: string): Promise<void> {
    const path = join(directory, `${++transactions}.nft`);
    writeFileSync(path, text, { mode: 0o600 });
    const { exitCode, stderr } = await shell.run(quoted(['nft', '-f', path]), NFT_TIMEOUT_MS);
    rmSync(path, { force: true });
    if (exitCode !== 0)
      throw new FirewallError(
        `nftables refused the rules of sandboxes: ${stderr.trim().slice(0, 1000) || `exit code ${exitCode}`}`,
      );
  }

  function remember(id: string, addresses: readonly OpenAddress[]): void {
    const known = opened.get(id) ?? new Map<string, StillOpen>();
    for (const open of addresses)
      known.set(`${open.address} ${open.port ?? ''}`, { ...open, untilMs: now() + open.seconds * 1000 });
    opened.set(id, known);
  }

  function stillOpen(id: string): OpenAddress[] {
    const known = opened.get(id) ?? new Map<string, StillOpen>();
    const left: OpenAddress[] = [];
    for (const [key, open] of known) {
      const seconds = Math.ceil((open.untilMs - now()) / 1000);
      if (seconds <= 0) known.delete(key);
      else left.push({ ...open, seconds });
    }
    return left;
  }

  async function applyNow(sandboxes: ReadonlyMap<string, PlacedRules>): Promise<void> {
    const before = current;
    const commands: string[] = before === undefined ? [baseRuleset(options)] : [];
    for (const [id, placed] of before ?? []) {
      const after = sandboxes.get(id);
      if (after !== undefined && isDeepStrictEqual(after, placed)) continue;
      commands.push(...removeSandbox(options, id, placed));
    }
    for (const [id, placed] of sandboxes) {
      const earlier = before?.get(id);
      if (earlier !== undefined && isDeepStrictEqual(earlier, placed)) continue;
      // Another list of names: what was opened for the earlier one is closed.
      if (earlier !== undefined && !isDeepStrictEqual(earlier.rules.names, placed.rules.names)) opened.delete(id);
      commands.push(...addSandbox(options, id, placed));
      if (placed.rules.names.length > 0) commands.push(...openAddresses(options, id, stillOpen(id)));
    }
    for (const id of opened.keys()) if (!sandboxes.has(id)) opened.delete(id);
    if (commands.length === 0) return;
    current = undefined;
    await write(`${commands.join('\n')}\n`);
    current = new Map(sandboxes);
  }

  return {
    apply: (sandboxes) => inTurn(() => applyNow(sandboxes)),
    open: (id, addresses) =>
      inTurn(async () => {
        if ((current?.get(id)?.rules.names ?? []).length === 0 || addresses.length === 0) return;
        await write(`${openAddresses(options, id, addresses).join('\n')}\n`);
        remember(id, addresses);
      }),
    close: () =>
      inTurn(async () => {
        await write(removeTable(options));
        rmSync(directory, { recursive: true, force: true });
      }),
  };
}

async function tableIsThere(engineTag: string): Promise<boolean> {
  return await execute('nft', ['list', 'chains', 'inet']).then(
    ({ stdout }) => stdout.includes(`table inet ${tableName(engineTag)} {`),
    () => false,
  );
}

/** Addresses that an earlier engine opened by name and that are still open: sandboxes remember them too. */
async function openInTable(engineTag: string): Promise<Map<string, OpenAddress[]>> {
  const found = new Map<string, OpenAddress[]>();
  const { stdout } = await execute('nft', ['-j', 'list', 'table', 'inet', tableName(engineTag)], {
    maxBuffer: 256 << 20,
  });
  const { nftables } = JSON.parse(stdout) as { nftables: { set?: { name: string; elem?: unknown[] } }[] };
  for (const { set } of nftables) {
    const id = /^name(?:s|_ports)_([0-9a-f]+)$/.exec(set?.name ?? '')?.[1];
    if (set?.elem === undefined || id === undefined) continue;
    const open = set.elem.flatMap((element) => {
      const { val, expires } =
        (element as { elem?: { val: string | { concat: [string, number] }; expires?: number } }).elem ?? {};
      if (val === undefined || expires === undefined) return [];
      return typeof val === 'string'
        ? [{ address: val, seconds: expires }]
        : [{ address: val.concat[0], port: val.concat[1], seconds: expires }];
    });
    found.set(id, [...(found.get(id) ?? []), ...open]);
  }
  return found;
}
