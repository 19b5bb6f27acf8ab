/** `$(NAME)` for the variables that there are; `$$` is a dollar sign, and what names nothing stays as it is. */
export function expand(text: string, environment: Readonly<Record<string, string>>): string {
  return text.replace(/\$(?:\$|\(([^()]*)\))/g, (match, name: string | undefined) => {
    if (name === undefined) return '$';
    return Object.hasOwn(environment, name) ? (environment[name] as string) : match;
  });
}
