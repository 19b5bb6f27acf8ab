import { aCount, aRate, type Reader, readMapping } from './structured.ts';

/** What a client of HTTP/2 may do on one connection. */
export interface Http2Settings {
  /** Requests at once. */
  maxStreams: number;
  /** Header fields of a request; their size has the bound of HTTP/1.1. */
  maxHeaders: number;
  /** Memory that a connection may take with everything that waits on it. */
  maxConnectionBytes: number;
  /** Requests that it may take back at once, and again each second. */
  resetBurst: number;
  resetsPerSecond: number;
  /** Pings and settings that it may send at once, and again each second. */
  controlBurst: number;
  controlPerSecond: number;
}

/** What holds where nobody says otherwise. */
export const DEFAULT_HTTP2: Http2Settings = {
  maxStreams: 128,
  maxHeaders: 128,
  maxConnectionBytes: 10_000_000,
  resetBurst: 1000,
  resetsPerSecond: 33,
  controlBurst: 2000,
  controlPerSecond: 1000,
};

/** The mapping `http2` of a configuration file. @throws Error that names the key */
export const http2Settings: Reader<Partial<Http2Settings>> = (raw, where) =>
  readMapping(raw, where, {
    maxStreams: aCount,
    maxHeaders: aCount,
    maxConnectionBytes: aCount,
    resetBurst: aCount,
    resetsPerSecond: aRate,
    controlBurst: aCount,
    controlPerSecond: aRate,
  });
