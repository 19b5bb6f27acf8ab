/** Names of what an engine makes on the machine for its sandboxes; the tag keeps engines of several state directories apart. */

/** What the names of all links of an engine's sandboxes begin with. */
export function linkPrefix(engineTag: string): string {
  return `s${engineTag}`;
}

/** Name of the host's end of a sandbox's link: at most 15 characters, as the kernel allows. */
export function linkName(engineTag: string, id: string): string {
  return `${linkPrefix(engineTag)}${id}`;
}

/** Name of a sandbox's network namespace. */
export function namespaceName(engineTag: string, id: string): string {
  return `sandbox-router-${engineTag}-${id}`;
}

/** Name of the engine's own nftables table: engines never touch each other's. */
export function tableName(engineTag: string): string {
  return `sandbox_router_${engineTag}`;
}
