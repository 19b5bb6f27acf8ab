import type { Http2Settings, Timeouts } from '../config/index.ts';
import type { HttpResourceClient } from '../kubernetes/index.ts';
import type { LineWriter, Traces } from '../telemetry/index.ts';
import type { SandboxTls, SleepLimits } from './forward/index.ts';
import type { TlsOptions } from './front-listener.ts';
import type { Identity, Links, OwnConnections, ScopedTokenKey } from './identity/index.ts';
import type { Policy } from './policy/index.ts';
import type { WakeLimits } from './wake/index.ts';

/** Everything that a router is made with. */
export interface RouterOptions extends ClusterOptions, FrontOptions {
  adminListen: { host: string; port: number };
  /** Namespace of the Leases by which routers are counted, to share limits; undefined where there is only one. */
  replicaNamespace: string | undefined;
}

/** What of which cluster is followed. */
export interface ClusterOptions {
  client: HttpResourceClient;
  /** Namespaces to serve; all if empty. */
  namespaces: readonly string[];
  /** Label selector of the Sandboxes to serve; all if undefined. */
  sandboxSelector: string | undefined;
  /** Requests are refused once the API server was not heard of for so long; 0 for never. */
  maxTableAgeMs: number;
  policy: Policy;
  /** Told of failures that no caller sees. */
  report(what: string, error: unknown): void;
}

/** How requests are answered. */
export interface FrontOptions {
  /** For what the control API changes. */
  client: HttpResourceClient;
  /** Namespaces that are served; all if empty. */
  namespaces: readonly string[];
  listen: { host: string; port: number };
  /** Undefined lets anybody in, as `anonymous`. */
  identity: Identity | undefined;
  /** Undefined where this process opens none. */
  ownConnections: OwnConnections | undefined;
  policy: Policy;
  /** Why the configuration file as it is now is not in force; undefined while it is. */
  configurationRefusal(): string | undefined;
  /** Settings of that file that have changed and wait for the next start. */
  restartNeededFor(): readonly string[];
  baseDomain: string | undefined;
  pathPrefix: string | undefined;
  trustedProxies: readonly string[];
  /** Plain HTTP where undefined. */
  tls: TlsOptions | undefined;
  http2: Http2Settings;
  /** What sandboxes that speak TLS have to show. */
  sandboxTls: SandboxTls;
  browsers: BrowserSettings;
  idle: IdleOptions;
  wakeLimits: WakeLimits;
  sleepLimits: SleepLimits;
  /** Texts in `User-Agent` of those who neither wake nor use; `default` stands for those built in. */
  quietAgents: { unfurlers: readonly string[]; monitors: readonly string[] };
  timeouts: Timeouts;
  /** Requests are refused once the API server was not heard of for so long; 0 for never. */
  maxTableAgeMs: number;
  maxBodyBytes: number;
  /** Whether every answer carries the RateLimit header fields, not refusals alone. */
  rateLimitFields: boolean;
  /** Undefined makes no traces: headers of callers' traces pass through then. */
  traces: Traces | undefined;
  /** Undefined keeps no audit log. */
  audit: LineWriter | undefined;
  /** Between turning unready and refusing connections, so that load balancers send nothing more. */
  shutdownDelayMs: number;
  drainTimeoutMs: number;
  /** One line for each request, or undefined. */
  accessLog: LineWriter | undefined;
  /** Told of failures that no caller sees. */
  report(what: string, error: unknown): void;
}

/** How browsers get in, and what is kept apart in them. */
export interface BrowserSettings {
  /** Undefined where no links are made. */
  links: Links | undefined;
  /** Keys of scoped tokens; the first mints. */
  scopedTokenKeys(): readonly ScopedTokenKey[];
  tokenQuery: string | undefined;
  allowedOrigins: readonly string[];
  /** Sandboxes of one host trust one another. */
  trustContent: boolean;
  /** Whether client certificates are credentials. */
  certificates: boolean;
}

/** When sandboxes are paused for want of use, and by whom. */
export interface IdleOptions {
  /** For sandboxes without an annotation; 0 for never. */
  defaultTimeoutMs: number;
  /** CPU from which on its use counts where a sandbox has no floor of its own, in thousandths; 0 for none. */
  cpuFloorMillicores: number;
  /** How often activity is told to other routers in front of the same cluster; 0 where this is the only one. */
  reportIntervalMs: number;
  /** Lease by which routers choose the one that pauses; undefined where there is only one. */
  lease: { namespace: string; name: string } | undefined;
  /** Whether a Pod snapshot is to be taken first. */
  podSnapshots(): Promise<boolean>;
}
