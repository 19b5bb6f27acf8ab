/** Bounds of holding requests in this process. */
export interface HoldLimits {
  heldPerSandbox: number;
  heldTotal: number;
  /** What held requests may take in memory, by {@link heldBytesOf}. */
  heldBytes: number;
}

/** What a request has that takes memory while it is held. */
export interface HeldSize {
  /** Name, value, …; and the URL. */
  rawHeaders: readonly string[];
  url: string;
  /** -1 where it is not known. */
  contentLength: number;
  hasBody: boolean;
  /** Its body is not sent before it is asked for. */
  expectContinue: boolean;
}

/** Request, response, socket and what the process grows by for them: 21 kB each with 8,000 held requests without bodies. */
const OBJECTS_BYTES = 24_576;
/** What Node.js reads of a body that nobody takes: its stream's high-water mark and one read of the socket. */
const MOST_BODY_BYTES = 131_072;

/** Bytes that a held request takes at most. */
export function heldBytesOf({ rawHeaders, url, contentLength, hasBody, expectContinue }: HeldSize): number {
  let bytes = OBJECTS_BYTES + url.length;
  for (const text of rawHeaders) bytes += text.length;
  if (hasBody && !expectContinue)
    bytes += contentLength < 0 ? MOST_BODY_BYTES : Math.min(contentLength, MOST_BODY_BYTES);
  return bytes;
}

/** Counts what is held. */
export interface HoldBudget {
  /** Why one more can't be held; undefined where it can. */
  refusal(heldForSandbox: number, name: string, bytes: number): string | undefined;
  take(bytes: number): void;
  give(bytes: number): void;
  count(): number;
  bytes(): number;
}

/** A budget of which nothing is taken yet. */
export function createHoldBudget(limits: HoldLimits): HoldBudget {
  let held = 0;
  let heldBytes = 0;
  return {
    refusal: (heldForSandbox, name, bytes) => {
      if (held >= limits.heldTotal) return 'Too many requests are held in this router.';
      if (heldForSandbox >= limits.heldPerSandbox) return `Too many requests are held for ${name}.`;
      if (heldBytes + bytes > limits.heldBytes) return 'The requests held in this router take too much memory.';
      return undefined;
    },
    take: (bytes) => {
      held++;
      heldBytes += bytes;
    },
    give: (bytes) => {
      held--;
      heldBytes -= bytes;
    },
    count: () => held,
    bytes: () => heldBytes,
  };
}
