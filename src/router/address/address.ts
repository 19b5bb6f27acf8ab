/** Which sandbox a request is for, and what of its URL goes there. */
export interface SandboxAddress {
  sandbox: string;
  /** Absent where the URL leaves it to the caller's tenant. */
  namespace: string | undefined;
  /** Absent where the URL leaves it to the sandbox. */
  port: number | undefined;
  /** Path and query for the sandbox, byte for byte; begins with `/`. */
  rest: string;
  form: 'path' | 'host' | 'header' | 'prefix';
  /** What stood before the rest in path forms: where `Location` and cookie paths are moved to. Empty in the other forms. */
  prefix: string;
}

/** A request that names no sandbox in a way that can be understood. `detail` says which rule it breaks. */
export interface AddressProblem {
  code: 'bad_address' | 'bad_header';
  detail: string;
}

/** Which forms are in use. */
export interface AddressOptions {
  baseDomain: string | undefined;
  pathPrefix: string | undefined;
}

/** The headers that address a sandbox, as they came (contract section 3.1). */
export interface AddressHeaders {
  host: string | undefined;
  sandboxId: string | undefined;
  sandboxNamespace: string | undefined;
  sandboxPort: string | undefined;
}

/** A DNS-1123 label: what sandboxes and namespaces are called. */
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const PORT = /^[1-9]\d{0,4}$/;

/** Whether a text is a DNS-1123 label. */
export function isLabel(text: string): boolean {
  return LABEL.test(text);
}

/**
 * Address of a request. The forms exclude one another in this order: a host below the base domain, the header `X-Sandbox-ID`, the configured path prefix, the
 * path.
 */
export function parseAddress(
  url: string,
  headers: AddressHeaders,
  options: AddressOptions,
): SandboxAddress | AddressProblem {
  if (options.baseDomain !== undefined && headers.host !== undefined) {
    const label = subdomain(headers.host, options.baseDomain);
    if (label !== undefined) return fromHost(label, url);
  }
  if (headers.sandboxId !== undefined) return fromHeaders(headers, url);
  if (options.pathPrefix !== undefined && url.startsWith(`${options.pathPrefix}/`))
    return fromPrefix(url, options.pathPrefix);
  return fromPath(url);
}

/** True for an {@link AddressProblem}. */
export function isAddressProblem(result: SandboxAddress | AddressProblem): result is AddressProblem {
  return 'code' in result;
}

function fromPath(url: string): SandboxAddress | AddressProblem {
  if (url.charCodeAt(0) !== 47) return bad('the request target must begin with "/".');
  let end = 1;
  for (; end < url.length; end++) {
    const code = url.charCodeAt(end);
    if (code === 47 || code === 63) break;
  }
  const segment = url.slice(1, end);
  if (segment === '') return bad('the URL names no sandbox; it looks like /<sandbox>/<path>.');
  let name = segment;
  let namespace: string | undefined;
  let port: number | undefined;
  const colon = segment.indexOf(':');
  if (colon >= 0) {
    name = segment.slice(0, colon);
    const parsed = parsePort(segment.slice(colon + 1));
    if (parsed === undefined)
      return bad(`"${printable(segment.slice(colon + 1))}" is no port; ports are whole numbers from 1 to 65535.`);
    port = parsed;
  }
  const dot = name.indexOf('.');
  if (dot >= 0) {
    namespace = name.slice(dot + 1);
    name = name.slice(0, dot);
  }
  const problem = checkLabels(name, namespace);
  if (problem !== undefined) return problem;
  return { sandbox: name, namespace, port, rest: restOf(url, end), form: 'path', prefix: url.slice(0, end) };
}

function fromPrefix(url: string, prefix: string): SandboxAddress | AddressProblem {
  const question = url.indexOf('?');
  const path = question < 0 ? url : url.slice(0, question);
  if (/%(?![0-9a-fA-F]{2})/.test(path)) return bad('Invalid percent-encoding in path.');
  const [namespace = '', sandbox = '', portText] = path.slice(prefix.length + 1).split('/', 3);
  if (portText === undefined) return bad('Path-routed request must have the form <prefix>/<namespace>/<id>/<port>/...');
  if (!isLabel(sandbox)) return bad('Invalid sandbox ID format.');
  if (!isLabel(namespace)) return bad('Invalid namespace format.');
  const port = parsePort(portText);
  if (port === undefined) return bad('Invalid port format.');
  const end = prefix.length + 1 + namespace.length + 1 + sandbox.length + 1 + portText.length;
  return { sandbox, namespace, port, rest: restOf(url, end), form: 'prefix', prefix: url.slice(0, end) };
}

function fromHost(label: string, url: string): SandboxAddress | AddressProblem {
  const [sandbox = '', namespace, portText, ...more] = label.split('--');
  if (more.length > 0)
    return bad('the host form is <sandbox>--<namespace>--<port>.<domain>; names that contain "--" have none.');
  const problem = checkLabels(sandbox, namespace);
  if (problem !== undefined) return problem;
  const port = portText === undefined ? undefined : parsePort(portText);
  if (portText !== undefined && port === undefined) return bad(`"${printable(portText)}" is no port.`);
  return { sandbox, namespace, port, rest: absolute(url), form: 'host', prefix: '' };
}

function fromHeaders(headers: AddressHeaders, url: string): SandboxAddress | AddressProblem {
  const { sandboxId = '', sandboxNamespace, sandboxPort } = headers;
  if (sandboxId === '') return { code: 'bad_header', detail: 'X-Sandbox-ID header is required.' };
  if (!isLabel(sandboxId)) return { code: 'bad_header', detail: 'Invalid sandbox ID format.' };
  const namespace = sandboxNamespace === undefined || sandboxNamespace === '' ? 'default' : sandboxNamespace;
  if (!isLabel(namespace)) return { code: 'bad_header', detail: 'Invalid namespace format.' };
  const port = sandboxPort === undefined || sandboxPort === '' ? 8888 : parsePort(sandboxPort);
  if (port === undefined) return { code: 'bad_header', detail: 'Invalid port format.' };
  return { sandbox: sandboxId, namespace, port, rest: absolute(url), form: 'header', prefix: '' };
}

/** The part of a host before the base domain, without port; undefined where it is the base domain itself or another host. */
function subdomain(host: string, baseDomain: string): string | undefined {
  const colon = host.lastIndexOf(':');
  const name = (colon > host.lastIndexOf(']') ? host.slice(0, colon) : host).toLowerCase();
  if (!name.endsWith(`.${baseDomain}`)) return undefined;
  return name.slice(0, -baseDomain.length - 1);
}

function restOf(url: string, end: number): string {
  if (end === url.length) return '/';
  return url.charCodeAt(end) === 63 ? `/${url.slice(end)}` : url.slice(end);
}

/** Path and query of a request target in absolute form (`GET http://host/path`), as it is otherwise. */
function absolute(url: string): string {
  if (url.charCodeAt(0) === 47) return url;
  const match = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*(.*)$/i.exec(url);
  const path = match?.[1] ?? url;
  return path.charCodeAt(0) === 47 ? path : `/${path}`;
}

function parsePort(text: string): number | undefined {
  if (!PORT.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}

function checkLabels(name: string, namespace: string | undefined): AddressProblem | undefined {
  if (!isLabel(name)) return bad(`"${printable(name)}" is no sandbox name; ${RULE}`);
  if (namespace !== undefined && !isLabel(namespace)) return bad(`"${printable(namespace)}" is no namespace; ${RULE}`);
  return undefined;
}

const RULE = 'names have 1 to 63 of a-z, 0-9 and "-", and begin and end with a letter or digit.';

function bad(detail: string): AddressProblem {
  return { code: 'bad_address', detail };
}

/** What a caller sent, short and without control characters, to be shown in an answer. */
function printable(text: string): string {
  const clean = text.replace(/[^\x20-\x7e]/g, '?');
  return clean.length > 70 ? `${clean.slice(0, 70)}…` : clean;
}
