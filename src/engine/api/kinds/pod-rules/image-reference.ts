/** The grammar of image references (github.com/distribution/reference), and `oci:` before the name of a layout. */
const DOMAIN_PART = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const DOMAIN = `(?:${DOMAIN_PART}(?:\\.${DOMAIN_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?`;
const PATH_PART = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const REFERENCE = new RegExp(
  `^(?:oci:)?(?:${DOMAIN}/)?${PATH_PART}(?:/${PATH_PART})*(?::\\w[\\w.-]{0,127})?(?:@[a-z0-9]+:[a-fA-F0-9]{32,128})?$`,
);
const LONGEST = 512;

/** Whether a text can name an image: none of its characters then has a meaning to a file system or a command line. */
export function isImageReference(text: string): boolean {
  return text.length <= LONGEST && REFERENCE.test(text);
}
