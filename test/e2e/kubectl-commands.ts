/** One command of the script and what it must print. Standard error must be empty unless `stderr` says what it has. */
export interface Command {
  /** After `kubectl --namespace …`; a string is split at spaces. */
  line: string | string[];
  input?: string;
  /** Exit code, 0 by default. */
  code?: number;
  stdout?: RegExp | RegExp[];
  stderr?: RegExp;
}

const CONFIG_MAP = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {team: blue}}
data: {colour: red}
`;

const SANDBOX = `apiVersion: agents.x-k8s.io/v1beta1
kind: Sandbox
metadata: {name: box, labels: {team: blue}}
spec:
  podTemplate:
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: sandbox-router.local/toolbox
          ports: [{containerPort: 8888}]
`;

const POOL = `apiVersion: extensions.agents.x-k8s.io/v1beta1
kind: SandboxTemplate
metadata: {name: tools}
spec:
  podTemplate:
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: sandbox-router.local/toolbox, ports: [{containerPort: 8888}]}]
---
apiVersion: extensions.agents.x-k8s.io/v1beta1
kind: SandboxWarmPool
metadata: {name: tools}
spec: {replicas: 1, sandboxTemplateRef: {name: tools}}
`;

const CLAIM = `apiVersion: extensions.agents.x-k8s.io/v1beta1
kind: SandboxClaim
metadata: {name: mine}
spec: {warmPoolRef: {name: tools}}
`;

const MISSPELT = SANDBOX.replace('name: box', 'name: misspelt').replace('image:', 'imagee: x\n          image:');
const ALPHA = SANDBOX.replace('v1beta1', 'v1alpha1')
  .replace('name: box', 'name: alpha')
  .replace('spec:\n', 'spec:\n  replicas: 0\n');
const GKE = SANDBOX.replace('agents.x-k8s.io/v1beta1', 'sandbox.gke.io/v1')
  .replace('name: box', 'name: gke')
  .replace('podTemplate', 'operatingMode: Suspended\n  template');
const DEPRECATED =
  /^Warning: agents.x-k8s.io\/v1alpha1 Sandbox is deprecated; use agents.x-k8s.io\/v1beta1 Sandbox instead\n$/;

/** The script: later commands build on earlier ones. Sections are in the order of what people do. */
export const SCRIPT: Record<string, Command[]> = {
  'finding out what there is': [
    {
      line: 'version',
      stdout: [/^Client Version: v1\./m, /^Server Version: v1\.34\.\d+-sandbox-router$/m],
      // An older kubectl than the project pins says that it is older.
      stderr: /^(WARNING: version difference .*\n)?$/,
    },
    { line: 'cluster-info', stdout: /Kubernetes control plane.* is running at .*https:\/\/127\.0\.0\.1:/ },
    {
      line: 'api-versions',
      stdout: [/^agents\.x-k8s\.io\/v1alpha1\nagents\.x-k8s\.io\/v1beta1$/m, /^sandbox\.gke\.io\/v1$/m, /^v1$/m],
    },
    {
      line: 'api-resources',
      stdout: [
        /^sandboxes +sandbox +agents\.x-k8s\.io\/v1beta1 +true +Sandbox$/m,
        /^sandboxes +sandbox +sandbox\.gke\.io\/v1 +true +Sandbox$/m,
        /^sandboxwarmpools +swp +extensions\.agents\.x-k8s\.io\/v1beta1 +true +SandboxWarmPool$/m,
      ],
    },
    { line: 'api-resources --api-group=podsnapshot.gke.io -o name', stdout: /^podsnapshots\.podsnapshot\.gke\.io$/m },
    { line: 'auth whoami', stdout: /^Groups +\[system:masters system:authenticated\]$/m },
    { line: 'auth can-i create pods', stdout: /^yes\n$/ },
    { line: 'auth can-i --list', stdout: /^\*\.\* +\[\] +\[\] +\[\*\]$/m },
    { line: 'get --raw /readyz', stdout: /^ok$/ },
    { line: 'get nodes -o wide', stdout: /^local +Ready .* 127\.0\.0\.1 .*gvisor:\/\/\d/m },
    { line: 'describe node local', stdout: [/^ {2}Ready +True .*EngineReady/m, /^Non-terminated Pods:/m] },
    { line: 'describe namespace default', stdout: [/^Name: +default$/m, /^Status: +Active$/m] },
    { line: 'get runtimeclasses,leases', stdout: /^$/, stderr: /^No resources found/ },
  ],
  'learning what fields there are': [
    { line: 'explain sandbox', stdout: [/^KIND: +Sandbox$/m, /^ {2}spec\t<Object> -required-$/m] },
    { line: 'explain sandbox.spec.operatingMode', stdout: /^ENUM:\n {4}Running\n {4}Suspended$/m },
    {
      line: 'explain sandbox.spec.podTemplate.spec.containers.resources.limits',
      stdout: /^FIELD: limits <map\[string\]/m,
    },
    { line: 'explain sandboxwarmpool.spec.updateStrategy.type', stdout: /^ENUM:\n {4}Recreate\n {4}OnReplenish$/m },
    {
      line: 'explain sandbox --api-version=agents.x-k8s.io/v1alpha1 --recursive',
      stdout: /^ {4}replicas\t<integer>$/m,
    },
    { line: 'explain pod.spec.containers.ports.containerPort', stdout: /^FIELD: containerPort <integer>$/m },
    { line: 'explain sandbox.spec.nothing', code: 1, stderr: /field "nothing" does not exist/ },
  ],
  'creating and reading sandboxes': [
    { line: 'create -f - --dry-run=server -o name', input: SANDBOX, stdout: /^sandbox\.agents\.x-k8s\.io\/box\n$/ },
    {
      line: 'get sandbox box',
      code: 1,
      stderr: /^Error from server \(NotFound\): sandboxes\.agents\.x-k8s\.io "box" not found\n$/,
    },
    {
      line: 'create -f - --validate=strict',
      input: MISSPELT,
      code: 1,
      stderr: /unknown field "spec\.podTemplate\.spec\.containers\[0\]\.imagee"/,
    },
    { line: 'create -f -', input: SANDBOX, stdout: /^sandbox\.agents\.x-k8s\.io\/box created\n$/ },
    {
      line: 'create -f -',
      input: SANDBOX,
      code: 1,
      stderr: /\(AlreadyExists\).*sandboxes\.agents\.x-k8s\.io "box" already exists/,
    },
    {
      line: 'wait --for=condition=Ready sandbox/box --timeout=60s',
      stdout: /^sandbox\.agents\.x-k8s\.io\/box condition met\n$/,
    },
    {
      line: ['wait', '--for=jsonpath={.status.phase}=Running', 'pod/box', '--timeout=60s'],
      stdout: /^pod\/box condition met\n$/,
    },
    { line: 'get sandboxes', stdout: /^NAME +READY +REASON +AGE\nbox +True +DependenciesReady +\d+s\n$/ },
    { line: 'get sandbox box -o yaml', stdout: [/^kind: Sandbox$/m, /^ {2}operatingMode: Running$/m] },
    { line: 'get sandbox box -o json', stdout: /"apiVersion": "agents\.x-k8s\.io\/v1beta1"/ },
    { line: 'get sandbox box -o jsonpath={.status.conditions[?(@.type=="Ready")].status}', stdout: /^True$/ },
    { line: 'get pods -o name', stdout: /^pod\/box\n$/ },
    { line: 'get pods -o wide', stdout: /^box +1\/1 +Running +0 +\d+s +10\.\d+\.\d+\.\d+ +local /m },
    { line: 'get pods,sandboxes -l team=blue -o name', stdout: /^sandbox\.agents\.x-k8s\.io\/box\n$/ },
    { line: 'get sandboxes -l team!=blue', stdout: /^$/, stderr: /^No resources found/ },
    {
      line: 'get pods --field-selector status.phase=Running,spec.nodeName=local -o custom-columns=N:.metadata.name,I:.spec.containers[0].image',
      stdout: /^N +I\nbox +sandbox-router\.local\/toolbox\n$/,
    },
    { line: 'get pods --field-selector spec.nothing=1', code: 1, stderr: /field label not supported: spec\.nothing/ },
    { line: 'get namespaces --chunk-size=1 -o name', stdout: [/^namespace\/default$/m, /^namespace\/kube-system$/m] },
    { line: 'get pods -A', stdout: /^NAMESPACE +NAME .*\n(.*\n)*kubectl-\d+ +box /m },
    { line: 'describe sandbox box', stdout: [/^Kind: +Sandbox$/m, /Reason: +DependenciesReady/] },
    { line: 'describe pod box', stdout: [/^Node: +local\//m, /^Controlled By: +Sandbox\/box$/m, /State: +Running/] },
    { line: 'get nothings', code: 1, stderr: /the server doesn't have a resource type "nothings"/ },
  ],
  'changing objects': [
    { line: 'apply -f -', input: CONFIG_MAP, stdout: /^configmap\/settings created\n$/ },
    { line: 'apply -f -', input: CONFIG_MAP, stdout: /^configmap\/settings unchanged\n$/ },
    {
      line: 'diff -f -',
      input: CONFIG_MAP.replace('red', 'green'),
      code: 1,
      stdout: [/^- {2}colour: red$/m, /^\+ {2}colour: green$/m],
    },
    { line: 'apply -f -', input: CONFIG_MAP.replace('red', 'green'), stdout: /^configmap\/settings configured\n$/ },
    {
      line: ['patch', 'configmap', 'settings', '-p', '{"data":{"size":"big"}}'],
      stdout: /^configmap\/settings patched\n$/,
    },
    { line: ['patch', 'configmap', 'settings', '--type=merge', '-p', '{"data":{"size":null}}'], stdout: /patched/ },
    {
      line: [
        'patch',
        'configmap',
        'settings',
        '--type=json',
        '-p',
        '[{"op":"test","path":"/data/colour","value":"no"}]',
      ],
      code: 1,
      stderr: /test/i,
    },
    { line: 'get configmap settings -o jsonpath={.data}', stdout: /^\{"colour":"green"\}$/ },
    {
      line: 'apply --server-side --field-manager=other -f -',
      input: CONFIG_MAP,
      code: 1,
      stderr: /Apply failed with 1 conflict: conflict with "kubectl-client-side-apply".*: \.data\.colour/,
    },
    {
      line: 'apply --server-side --field-manager=other --force-conflicts -f -',
      input: CONFIG_MAP,
      stdout: /^configmap\/settings serverside-applied\n$/,
    },
    {
      line: 'get configmap settings --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}',
      stdout: /\bother\b/,
    },
    {
      line: 'label configmap settings team=red',
      code: 1,
      stderr: /already has a value \(blue\), and --overwrite is false/,
    },
    { line: 'label configmap settings team=red --overwrite', stdout: /labeled/ },
    { line: 'annotate configmap settings note=kept', stdout: /annotated/ },
    { line: 'replace -f -', input: CONFIG_MAP.replace('red', 'replaced'), stdout: /^configmap\/settings replaced\n$/ },
    {
      line: ['get', 'configmap', 'settings', '-o', 'go-template={{.data.colour}} {{.metadata.annotations}}'],
      stdout: /^replaced <no value>$/,
    },
    { line: 'create secret generic password --from-literal=word=xyzzy', stdout: /^secret\/password created\n$/ },
    { line: ['get', 'secret', 'password', '-o', 'go-template={{.data.word | base64decode}}'], stdout: /^xyzzy$/ },
    {
      line: ['patch', 'sandbox', 'box', '--type=merge', '-p', '{"spec":{"operatingMode":"Asleep"}}'],
      code: 1,
      stderr: /spec\.operatingMode: Unsupported value: "Asleep": supported values: "Running", "Suspended"/,
    },
    {
      line: ['patch', 'sandbox', 'box', '--type=strategic', '-p', '{"spec":{}}'],
      code: 1,
      stderr: /strategic-merge-patch\+json is not supported by agents\.x-k8s\.io\/v1beta1, Kind=Sandbox/,
    },
    { line: 'delete configmap settings --cascade=foreground', stdout: /^configmap "settings" deleted/ },
    { line: 'delete secret password --dry-run=server', stdout: /deleted.*\(server dry run\)/ },
    { line: 'delete secret password --now', stdout: /^secret "password" deleted/ },
  ],
  'the older forms of a Sandbox': [
    { line: 'apply -f -', input: ALPHA, stdout: /^sandbox\.agents\.x-k8s\.io\/alpha created\n$/, stderr: DEPRECATED },
    { line: 'get sandbox alpha -o jsonpath={.spec.operatingMode}', stdout: /^Suspended$/ },
    { line: 'scale sandboxes.v1alpha1.agents.x-k8s.io/alpha --replicas=1', stdout: /alpha scaled/, stderr: DEPRECATED },
    { line: 'wait --for=condition=Ready sandbox/alpha --timeout=60s', stdout: /condition met/ },
    {
      line: 'get sandboxes.v1alpha1.agents.x-k8s.io alpha -o jsonpath={.status.replicas}',
      stdout: /^1$/,
      stderr: DEPRECATED,
    },
    { line: 'delete sandbox alpha --wait', stdout: /^sandbox\.agents\.x-k8s\.io "alpha" deleted/ },
    { line: 'apply --server-side -f -', input: GKE, stdout: /^sandbox\.sandbox\.gke\.io\/gke serverside-applied\n$/ },
    { line: 'get sandboxes.sandbox.gke.io gke -o jsonpath={.spec.template.spec.containers[0].name}', stdout: /^main$/ },
    { line: 'get sandbox gke -o jsonpath={.spec.podTemplate.spec.containers[0].name}', stdout: /^main$/ },
    { line: 'delete sandboxes.sandbox.gke.io gke', stdout: /^sandbox\.sandbox\.gke\.io "gke" deleted/ },
  ],
  'claims from a warm pool': [
    {
      line: 'apply -f -',
      input: POOL,
      stdout: /^sandboxtemplate\.\S+\/tools created\nsandboxwarmpool\.\S+\/tools created\n$/,
    },
    {
      line: 'scale swp tools --replicas=2',
      stdout: /^sandboxwarmpool\.extensions\.agents\.x-k8s\.io\/tools scaled\n$/,
    },
    {
      line: ['wait', 'swp/tools', '--for=jsonpath={.status.readyReplicas}=2', '--timeout=60s'],
      stdout: /condition met/,
    },
    { line: 'get swp', stdout: /^NAME +READY +DESIRED +AGE\ntools +2 +2 +\d+s\n$/ },
    { line: 'apply -f -', input: CLAIM, stdout: /^sandboxclaim\.extensions\.agents\.x-k8s\.io\/mine created\n$/ },
    { line: 'wait --for=condition=Ready sandboxclaim/mine --timeout=60s', stdout: /condition met/ },
    { line: 'get sandboxclaims', stdout: /^mine +True +tools-\w+ +DependenciesReady +\d+s$/m },
    { line: 'describe sandboxclaim mine', stdout: [/^Kind: +SandboxClaim$/m, /Normal +SandboxAdopted/] },
    { line: 'describe sandboxtemplate tools', stdout: /Env Vars Injection Policy: +Disallowed/ },
    { line: 'describe swp tools', stdout: /Ready Replicas: +\d/ },
    { line: 'events --for sandboxclaim/mine', stdout: /Normal +SandboxAdopted +SandboxClaim\/mine/ },
    { line: 'get events --field-selector reason=SandboxAdopted', stdout: /sandboxclaim\/mine/ },
    { line: 'delete sandboxclaim mine --wait', stdout: /deleted/ },
    {
      line: 'delete swp,sandboxtemplates tools',
      stdout: /sandboxwarmpool\S* "tools" deleted.*\n.*sandboxtemplate\S* "tools" deleted/,
    },
  ],
  'into the pod': [
    { line: 'exec box -- sh -c true', stdout: /^$/ },
    {
      line: ['exec', 'box', '-c', 'main', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7'],
      code: 7,
      stdout: /^out\n$/,
      stderr: /^err\ncommand terminated with exit code 7\n$/,
    },
    { line: 'exec -i box -- cat', input: 'through and back', stdout: /^through and back$/ },
    {
      line: 'exec box -c other -- true',
      code: 1,
      stderr: /^Error from server \(BadRequest\): container other is not valid for pod box\n$/,
    },
    { line: 'exec box -- /no/such/program', code: 1, stderr: /no such file or directory/ },
    { line: 'exec nobody -- true', code: 1, stderr: /^Error from server \(NotFound\): pods "nobody" not found\n$/ },
    { line: 'logs box --previous', code: 1, stderr: /previous terminated container "main" in pod "box" not found/ },
    { line: 'logs box -c other', code: 1, stderr: /container other is not valid for pod box/ },
  ],
};
