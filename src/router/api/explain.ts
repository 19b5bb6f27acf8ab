import { type AddressOptions, isAddressProblem, parseAddress } from '../address/index.ts';
import { type Identity, maySee, type Principal } from '../identity/index.ts';
import { type Problem, type ProblemCode, ProblemError } from '../problem.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';

/** What an explanation is made of. */
export interface ExplainOptions {
  table: RoutingTable;
  identity: Identity | undefined;
  address: AddressOptions;
  refusedByClass(tenant: Principal['tenant'], route: Route, pod: PodRecord | undefined): Problem | undefined;
  /** Why a pod is not held to its egress class, also where that keeps nobody away. */
  unenforcedReason(podUid: string): string | undefined;
}

/** One station of a request's journey (design section 3). */
export interface ExplainedStep {
  step: 'address' | 'identity' | 'scope' | 'sandbox' | 'classes' | 'wake';
  ok: boolean;
  detail: string;
  code?: ProblemCode;
}

/** What would become of a request, and where it would end. Nothing is woken, counted or forwarded. */
export interface Explanation {
  allowed: boolean;
  steps: ExplainedStep[];
}

/**
 * Follows a request for a URL with somebody's token, or the caller's own without one. Of sandboxes that the caller may not see it tells what it would
 * tell of those that do not exist.
 */
export async function explain(
  options: ExplainOptions,
  caller: Principal,
  asked: { url: string; token: string | undefined },
  nowMs: number,
): Promise<Explanation> {
  const steps: ExplainedStep[] = [];
  const pass = (step: ExplainedStep['step'], detail: string) => steps.push({ step, ok: true, detail });
  const stop = (step: ExplainedStep['step'], { code, detail }: Problem): Explanation => {
    steps.push({ step, ok: false, detail, code });
    return { allowed: false, steps };
  };

  const [, host, target = ''] = /^https?:\/\/([^/?#@]+)([^#]*)/.exec(asked.url) ?? [];
  if (host === undefined)
    throw new ProblemError({ code: 'bad_request', detail: '"url" must be an http or https URL.' });
  const headers = { host, sandboxId: undefined, sandboxNamespace: undefined, sandboxPort: undefined };
  const address = parseAddress(target === '' ? '/' : target, headers, options.address);
  if (isAddressProblem(address)) return stop('address', address);
  pass('address', `The ${address.form} form names sandbox ${address.sandbox}.`);

  const principal =
    asked.token === undefined || options.identity === undefined
      ? caller
      : await options.identity.authenticate(asked.token, nowMs);
  if (principal === undefined)
    return stop('identity', {
      code: 'unauthenticated',
      detail: 'The token is not known, not valid any more, or of a tenant that is not configured.',
    });
  const { tenant, scopes } = principal;
  pass('identity', `Credential ${principal.credentialId} of tenant ${tenant.name}.`);
  if (!scopes.has('route'))
    return stop('scope', {
      code: 'forbidden',
      detail: `It has the scopes ${[...scopes].join(', ')}, and needs route.`,
    });
  pass('scope', `It has the scopes ${[...scopes].join(', ')}.`);

  const namespace = address.namespace ?? principal.defaultNamespace;
  const name = { namespace, name: address.sandbox };
  const visible =
    (await mayKnow(caller, name)) && (principal === caller || (await mayKnow(principal, name)))
      ? options.table.find(namespace, address.sandbox)
      : undefined;
  if (visible === undefined || visible.sandbox.pooled)
    return stop('sandbox', {
      code: 'sandbox_not_found',
      detail: `There is no sandbox ${address.sandbox} in ${namespace}, or not one that it may see.`,
    });
  pass('sandbox', `${namespace}/${address.sandbox}, port ${address.port ?? visible.sandbox.port}.`);
  return explainSandbox(options, principal, visible, address.port ?? visible.sandbox.port, pass, stop, steps);
}

function explainSandbox(
  options: ExplainOptions,
  { tenant, scopes }: Principal,
  route: Route,
  port: number,
  pass: (step: ExplainedStep['step'], detail: string) => void,
  stop: (step: ExplainedStep['step'], problem: Problem) => Explanation,
  steps: ExplainedStep[],
): Explanation {
  const { sandbox } = route;
  const pod = options.table.isRoutable(route) ? route.pod : undefined;
  const refused = options.refusedByClass(tenant, route, pod);
  if (refused !== undefined) return stop('classes', refused);
  const { runtimeClass, egressClass } = pod ?? sandbox;
  const reason = pod && options.unenforcedReason(pod.uid);
  const warning = reason === undefined ? '' : ` Nothing enforces the egress class: ${reason}.`;
  pass('classes', `RuntimeClass ${runtimeClass || '(none)'}, egress class ${egressClass || '(none)'}.${warning}`);
  if (pod?.suspectPorts?.has(port))
    pass(
      'wake',
      `It runs, but refused connections on port ${port} since it was last heard of: requests wait for one that tries.`,
    );
  else if (pod !== undefined) pass('wake', 'It runs.');
  else if (sandbox.finished) return stop('wake', { code: 'sandbox_finished', detail: 'It has ended for good.' });
  else if (sandbox.running)
    pass('wake', `It should run, and is waited for: ${sandbox.readyMessage || 'it is starting'}.`);
  else if (!sandbox.wakes)
    return stop('wake', { code: 'wake_disabled', detail: 'Its annotation sandbox-router/wake says never.' });
  else if (!scopes.has('wake'))
    return stop('wake', { code: 'wake_disabled', detail: 'It is paused, and the credential lacks the scope wake.' });
  else pass('wake', 'It is paused, and the request would wake it within the limits of the tenant.');
  return { allowed: true, steps };
}

async function mayKnow(principal: Principal, name: { namespace: string; name: string }): Promise<boolean> {
  return maySee(principal, name) && (await principal.mayProxy?.(name)) !== false;
}
