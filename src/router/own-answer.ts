/** An answer that the router gives by itself and that is no problem; thrown on the way to a sandbox that is not reached. */
export class OwnAnswer extends Error {
  readonly code = 'own_answer';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;

  constructor(status: number, headers: Readonly<Record<string, string>>, body: string) {
    super(`answered ${status} by the router`);
    this.name = 'OwnAnswer';
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}
