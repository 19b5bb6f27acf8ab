import { text } from './parsers.ts';
import { define, routers } from './setting.ts';

/** Settings of traces. Credentials of the receiver are in `OTEL_EXPORTER_OTLP_HEADERS`: no flag carries them. */
export const traceSettings = {
  tracesEndpoint: define<string | undefined>({
    key: 'tracesEndpoint',
    description:
      'base URL of the receiver of traces (OTLP over HTTP), or none; without it: OTEL_EXPORTER_OTLP_ENDPOINT, else there are no traces',
    placeholder: 'url|none',
    default: undefined,
    commands: routers,
    parse: (raw) => (raw === 'none' ? 'none' : receiverUrl(text(raw))),
  }),
  tracesRatio: define({
    key: 'tracesRatio',
    description: 'part of the requests that are traced where their caller has not decided, 0 to 1',
    placeholder: 'ratio',
    default: 1,
    commands: routers,
    parse: ratio,
  }),
};

/**
 * Where traces are sent: by the setting, else by the variables of OpenTelemetry; undefined for nowhere.
 * @throws Error that names the setting or the variable whose value can't be used
 */
export function tracesUrl(
  endpoint: string | undefined,
  environment: Record<string, string | undefined>,
): string | undefined {
  if (endpoint === 'none' || environment.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return undefined;
  if (endpoint !== undefined) return ofTraces(withoutCredentials(endpoint, 'tracesEndpoint'));
  const exact = fromVariable('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', environment);
  if (exact !== undefined) return exact;
  const base = fromVariable('OTEL_EXPORTER_OTLP_ENDPOINT', environment);
  return base === undefined ? undefined : ofTraces(base);
}

/** The path that OTLP has for traces below a base URL. */
function ofTraces(base: string): string {
  return `${base.replace(/\/+$/, '')}/v1/traces`;
}

function fromVariable(name: string, environment: Record<string, string | undefined>): string | undefined {
  const value = environment[name];
  if (value === undefined || value === '') return undefined;
  try {
    receiverUrl(value);
  } catch (error) {
    throw new Error(`${name} ${(error as Error).message}.`);
  }
  return withoutCredentials(value, name);
}

/** Apart from the parser, whose errors show what was given. */
function withoutCredentials(value: string, name: string): string {
  const { username, password } = new URL(value);
  if (username === '' && password === '') return value;
  throw new Error(`${name} must have no credentials in it: OTEL_EXPORTER_OTLP_HEADERS is for them.`);
}

function receiverUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '')
    throw new Error('must be a URL such as http://collector:4318');
  return value;
}

function ratio(raw: unknown): number {
  const value = typeof raw === 'string' && /^\d*\.?\d+$/.test(raw) ? Number(raw) : raw;
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) throw new Error('must be a number from 0 to 1');
  return value;
}
