import { BlockList, isIP } from 'node:net';
import { at, items, text } from '../object.ts';
import type { FieldError } from '../schema/validate.ts';

/** What is wrong with the rules of a NetworkPolicy, or of a template's, beyond their schema: `ingress` and `egress` below the path (pkg/apis/networking/validation). */
export function networkRuleErrors(object: unknown, path: string[]): FieldError[] {
  return (['ingress', 'egress'] as const).flatMap((direction) =>
    items(object, ...path, direction).flatMap((rule, index) => {
      const field = `${[...path, direction].join('.')}[${index}]`;
      const peers = direction === 'ingress' ? 'from' : 'to';
      return [
        ...items(rule, peers).flatMap((peer, position) => peerErrors(peer, `${field}.${peers}[${position}]`)),
        ...items(rule, 'ports').flatMap((port, position) => portErrors(port, `${field}.ports[${position}]`)),
      ];
    }),
  );
}

function peerErrors(peer: unknown, field: string): FieldError[] {
  const block = at(peer, 'ipBlock');
  const selects = at(peer, 'podSelector') !== undefined || at(peer, 'namespaceSelector') !== undefined;
  if (block === undefined)
    return selects ? [] : [{ field, reason: 'FieldValueRequired', message: 'Required value: must specify a peer' }];
  if (selects)
    return [
      {
        field,
        reason: 'FieldValueForbidden',
        message: 'Forbidden: may not specify both ipBlock and another peer',
      },
    ];
  const cidr = text(block, 'cidr');
  const range = rangeOf(cidr);
  if (range === undefined) return [wrong(`${field}.ipBlock.cidr`, cidr, NO_RANGE)];
  return items(block, 'except').flatMap((value, index) => {
    const except = rangeOf(String(value));
    const at = `${field}.ipBlock.except[${index}]`;
    if (except === undefined) return [wrong(at, String(value), NO_RANGE)];
    const inside =
      except.family === range.family && except.prefix > range.prefix && range.list.check(except.address, range.family);
    return inside ? [] : [wrong(at, String(value), `must be a strict subset of \`cidr\``)];
  });
}

const NO_RANGE = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';

interface Range {
  address: string;
  prefix: number;
  family: 'ipv4' | 'ipv6';
  list: BlockList;
}

function rangeOf(cidr: string): Range | undefined {
  const [address = '', digits = ''] = cidr.split('/');
  const version = isIP(address);
  const prefix = Number(digits);
  if (version === 0 || !/^\d{1,3}$/.test(digits) || prefix > (version === 4 ? 32 : 128)) return undefined;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(address, prefix, family);
  return { address, prefix, family, list };
}

function portErrors(rule: unknown, field: string): FieldError[] {
  const port = at(rule, 'port');
  const endPort = at(rule, 'endPort');
  if (typeof port === 'number' && (port < 1 || port > 65_535))
    return [wrong(`${field}.port`, port, 'must be between 1 and 65535, inclusive')];
  if (typeof port === 'string' && (!/^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/.test(port) || !/[a-z]/.test(port)))
    return [
      wrong(`${field}.port`, port, 'must be the name of a port: at most 15 lower case letters, digits and single "-"'),
    ];
  if (endPort === undefined) return [];
  if (typeof port !== 'number')
    return [wrong(`${field}.endPort`, Number(endPort), 'may not be specified when `port` is not a number')];
  return Number(endPort) < port
    ? [wrong(`${field}.endPort`, Number(endPort), 'must be greater than or equal to `port`')]
    : [];
}

function wrong(field: string, value: string | number, why: string): FieldError {
  return { field, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}` };
}
