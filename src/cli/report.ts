/** A failure that no caller sees, as one line on standard error; the program goes on. */
export function report(what: string, error: unknown): void {
  console.error(`${new Date().toISOString()} ${what}: ${error instanceof Error ? error.message : String(error)}`);
}
