import { ImageError } from '../images.ts';

/** An image reference taken apart: one of a registry, or one of a layout in the directory for them. */
export type ImageReference =
  | { source: 'registry'; registry: string; repository: string; tag?: string; digest?: string }
  | { source: 'layout'; name: string; tag: string };

/** The grammar of reference names (github.com/distribution/reference), which Kubernetes' clients and registries share. */
const DOMAIN_PART = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const DOMAIN = new RegExp(`^(?:${DOMAIN_PART}(?:\\.${DOMAIN_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`);
const PATH_PART = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const PATH = new RegExp(`^${PATH_PART}(?:/${PATH_PART})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^sha256:[a-f0-9]{64}$/;
/** Longest name, as registries have it. */
const NAME_LIMIT = 255;
const LAYOUT_PREFIX = 'oci:';

/**
 * Takes a reference apart as `docker pull` and kubelets do: `app` is `docker.io/library/app:latest`. `oci:<name>[:<tag>]` is a layout. The characters that are let
 * through have no meaning to a file system or a command line, save for the slash between parts. @throws ImageError `image_invalid`
 */
export function parseReference(reference: string): ImageReference {
  const invalid = (problem: string) =>
    new ImageError(
      'image_invalid',
      `couldn't parse image reference ${JSON.stringify(reference.slice(0, 300))}: ${problem}`,
    );
  if (reference.startsWith(LAYOUT_PREFIX)) return parseLayout(reference.slice(LAYOUT_PREFIX.length), invalid);
  const [named = '', digest, ...more] = reference.split('@');
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest)))
    throw invalid('the digest must be "sha256:" and 64 hex digits');
  const { name, tag } = splitTag(named);
  if (tag !== undefined && !TAG.test(tag)) throw invalid(`"${tag.slice(0, 140)}" is no tag`);
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  const hasDomain = /[.:[\]A-Z]/.test(first) || first === 'localhost';
  const registry = hasDomain ? first : 'docker.io';
  const path = hasDomain ? name.slice(slash + 1) : name;
  if (!DOMAIN.test(registry)) throw invalid(`"${registry}" is no registry`);
  if (!PATH.test(path) || `${registry}/${path}`.length > NAME_LIMIT)
    throw invalid(
      'a repository is lower case letters and digits, with single separators (. _ -) between them and slashes between parts',
    );
  return {
    source: 'registry',
    registry,
    repository: registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path,
    ...(tag === undefined ? (digest === undefined ? { tag: 'latest' } : {}) : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

function parseLayout(text: string, invalid: (problem: string) => ImageError): ImageReference {
  if (text.includes('@')) throw invalid('a layout is named by a tag, not by a digest');
  const { name, tag = 'latest' } = splitTag(text);
  if (!PATH.test(name) || name.length > NAME_LIMIT)
    throw invalid(
      '"oci:" wants the path of a layout inside the directory for layouts, of lower case letters and digits',
    );
  if (!TAG.test(tag)) throw invalid(`"${tag.slice(0, 140)}" is no tag`);
  return { source: 'layout', name, tag };
}

/** The part after the last colon, if that comes after the last slash. */
function splitTag(text: string): { name: string; tag?: string } {
  const colon = text.lastIndexOf(':');
  return colon > text.lastIndexOf('/') ? { name: text.slice(0, colon), tag: text.slice(colon + 1) } : { name: text };
}

/** The one name of an image: equal for all spellings of a reference. With a digest, its tag does not matter. */
export function canonicalName(reference: ImageReference): string {
  if (reference.source === 'layout') return `${LAYOUT_PREFIX}${reference.name}:${reference.tag}`;
  return reference.digest === undefined
    ? `${repositoryName(reference)}:${reference.tag}`
    : digestName(reference, reference.digest);
}

/** Name of certain content of a repository or layout. */
export function digestName(reference: ImageReference, digest: string): string {
  return `${repositoryName(reference)}@${digest}`;
}

function repositoryName(reference: ImageReference): string {
  return reference.source === 'layout'
    ? `${LAYOUT_PREFIX}${reference.name}`
    : `${reference.registry}/${reference.repository}`;
}
