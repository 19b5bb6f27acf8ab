/** Thrown where a browser is sent elsewhere in place of an answer. */
export class BrowserRedirect extends Error {
  readonly location: string;
  /** More headers: name, value, … */
  readonly headers: readonly string[];

  constructor(location: string, headers: readonly string[] = []) {
    super('redirect');
    this.name = 'BrowserRedirect';
    this.location = location;
    this.headers = headers;
  }
}

/** Headers of an answer that sends a browser on: nothing of where it came from is kept or told. */
export const REDIRECT_HEADERS = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' } as const;
