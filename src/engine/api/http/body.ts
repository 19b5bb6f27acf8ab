import { parse as parseYaml } from 'yaml';
import { badRequest, unsupportedMediaType } from '../errors.ts';
import { inspectJson, levelsOf, MOST_LEVELS } from './json-text.ts';
import { readEnvelope, readMessage } from './protobuf.ts';
import { DELETE_OPTIONS, MESSAGES } from './protobuf-messages.ts';

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** The media type of a Content-Type header, without parameters. */
export function mediaType(contentType: string | undefined): string {
  return (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

/**
 * Reads the body of a create, update or delete: JSON, YAML, or protobuf for the kinds that Go clients send so. `duplicate` is told of fields that are there
 * more than once. @throws ApiError BadRequest, UnsupportedMediaType
 */
export function readBody(
  contentType: string | undefined,
  body: unknown,
  duplicate: (path: string) => void = () => {},
): unknown {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
  if (bytes.length === 0) return undefined;
  const type = mediaType(contentType);
  if (type === '' || type === 'application/json' || type === '*/*') return readJson(bytes, 'JSON', duplicate);
  if (type === 'application/yaml') return readYaml(bytes);
  if (type === 'application/vnd.kubernetes.protobuf') return readProtobuf(bytes);
  throw unsupportedMediaType(['application/json', 'application/yaml']);
}

/** Parses JSON. @throws ApiError BadRequest that says what it was to be */
export function readJson(bytes: Buffer, what = 'JSON', duplicate: (path: string) => void = () => {}): unknown {
  const text = textOf(bytes, what);
  const { levels, duplicates } = inspectJson(text);
  if (levels > MOST_LEVELS) throw tooDeep(what);
  try {
    const value: unknown = JSON.parse(text);
    duplicates.forEach(duplicate);
    return value;
  } catch (error) {
    throw badRequest(`error decoding ${what}: ${(error as Error).message}`);
  }
}

function textOf(bytes: Buffer, what: string): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw badRequest(`error decoding ${what}: the body is not valid UTF-8`);
  }
}

function tooDeep(what: string): Error {
  return badRequest(`error decoding ${what}: objects and lists are nested more than ${MOST_LEVELS} levels deep`);
}

function readProtobuf(bytes: Buffer): unknown {
  const { apiVersion, kind, content } = readEnvelope(bytes);
  if (kind === 'DeleteOptions') return readMessage(DELETE_OPTIONS, content);
  const message = MESSAGES[`${apiVersion}/${kind}`];
  if (message === undefined) throw unsupportedMediaType(['application/json', 'application/yaml']);
  return { apiVersion, kind, ...readMessage(message, content) };
}

/** JSON is YAML, and parses much faster as what it is. @throws ApiError BadRequest for what is no YAML */
export function readYaml(bytes: Buffer): unknown {
  const value = parsedYaml(textOf(bytes, 'YAML'));
  if (levelsOf(value) > MOST_LEVELS) throw tooDeep('YAML');
  return value;
}

function parsedYaml(text: string): unknown {
  try {
    if (text.trimStart().startsWith('{')) return JSON.parse(text);
  } catch {
    // Flow style YAML perhaps.
  }
  try {
    return parseYaml(text, { maxAliasCount: 100 });
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep('YAML');
    throw badRequest(`error decoding YAML: ${(error as Error).message}`);
  }
}
