import {
  EGRESS_LABEL,
  NAME_HASH_LABEL,
  NETWORK_POLICIES,
  NODES,
  nameHash,
  POD_SNAPSHOT_POLICIES,
  POD_SNAPSHOTS,
  PODS,
  RUNTIME_CLASSES,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
} from '../../src/kubernetes/index.ts';
import { type DoctorCluster, type Draft, makeNode, TEAM } from './doctor-cluster.ts';

/** One way to break the healthy cluster, and everything that doctor then has to say besides `ok`. */
export interface Variant {
  name: string;
  spoil(cluster: DoctorCluster): Promise<void>;
  /** `check severity`, each once. */
  expected: string[];
  /** The object that a fix names. */
  fixNames: string;
}

/** What the spec of a fixture's pod template becomes. */
const templateSpec = (spec: Draft): Draft => ({ spec: { podTemplate: { spec } } });
const podSpec = (draft: Draft) => draft.spec as Draft;

/** Each breaks one thing; the healthy cluster is made anew between them. */
export const VARIANTS: readonly Variant[] = [
  {
    name: 'there is no RuntimeClass gvisor',
    spoil: ({ remove }) => remove(RUNTIME_CLASSES, 'gvisor'),
    expected: ['runtime-class failure'],
    fixNames: 'RuntimeClass gvisor',
  },
  {
    name: 'RuntimeClass gvisor runs runc',
    spoil: ({ remake }) =>
      remake(RUNTIME_CLASSES, 'gvisor', (draft) => {
        draft.handler = 'runc';
      }),
    expected: ['runtime-class failure'],
    fixNames: 'RuntimeClass gvisor',
  },
  {
    name: 'one pod runs without gVisor',
    spoil: ({ remake }) =>
      remake(PODS, 'box-running', (draft) => {
        delete podSpec(draft).runtimeClassName;
        delete podSpec(draft).overhead;
      }),
    expected: ['runtime-class failure'],
    fixNames: `Pod ${TEAM}/box-running`,
  },
  {
    name: 'a template names no RuntimeClass',
    spoil: ({ change }) => change(SANDBOX_TEMPLATES, 'python', templateSpec({ runtimeClassName: null })),
    expected: ['runtime-class failure'],
    fixNames: `SandboxTemplate ${TEAM}/python`,
  },
  {
    name: 'a pod lost its egress class',
    spoil: ({ change }) => change(PODS, 'box-running', { metadata: { labels: { [EGRESS_LABEL]: null } } }),
    expected: ['egress-label failure'],
    fixNames: `Pod ${TEAM}/box-running`,
  },
  {
    name: 'a paused sandbox will start without an egress class',
    spoil: ({ change }) =>
      change(SANDBOXES, 'box-paused', { spec: { podTemplate: { metadata: { labels: { [EGRESS_LABEL]: null } } } } }),
    expected: ['egress-label failure'],
    fixNames: `Sandbox ${TEAM}/box-paused`,
  },
  {
    name: 'the policy restricts only who comes in',
    spoil: ({ change }) => change(NETWORK_POLICIES, 'sandboxes', { spec: { policyTypes: ['Ingress'], egress: null } }),
    expected: ['egress-policy failure'],
    fixNames: `Pod ${TEAM}/box-running`,
  },
  {
    name: 'another policy opens the internet to a class that promises nothing',
    spoil: async ({ make }) => {
      const egress = [{ to: [{ ipBlock: { cidr: '0.0.0.0/0' } }] }];
      const podSelector = { matchLabels: { [NAME_HASH_LABEL]: nameHash('box-running') } };
      await make(NETWORK_POLICIES, {
        metadata: { name: 'open' },
        spec: { podSelector, policyTypes: ['Egress'], egress },
      });
    },
    expected: ['egress-policy failure'],
    fixNames: `Pod ${TEAM}/box-running`,
  },
  {
    name: 'the policy lets in a router of another namespace',
    spoil: ({ change }) => {
      const namespaceSelector = { matchLabels: { 'kubernetes.io/metadata.name': 'default' } };
      return change(NETWORK_POLICIES, 'sandboxes', { spec: { ingress: [{ from: [{ namespaceSelector }] }] } });
    },
    expected: ['router-ingress failure'],
    fixNames: `NetworkPolicy ${TEAM}/sandboxes`,
  },
  {
    name: 'the policy lets the router in to another port',
    spoil: ({ change }) =>
      change(NETWORK_POLICIES, 'sandboxes', {
        spec: { ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ protocol: 'TCP', port: 9999 }] }] },
      }),
    expected: ['router-ingress failure'],
    fixNames: `NetworkPolicy ${TEAM}/sandboxes`,
  },
  {
    name: 'nothing restricts who comes in',
    spoil: ({ change }) => change(NETWORK_POLICIES, 'sandboxes', { spec: { policyTypes: ['Egress'], ingress: null } }),
    expected: ['router-ingress warning'],
    fixNames: `Pod ${TEAM}/box-running`,
  },
  {
    name: 'a pool is starved',
    spoil: ({ change }) => change(SANDBOX_WARM_POOLS, 'python', { status: { readyReplicas: 0 } }, 'status'),
    expected: ['warm-pools failure'],
    fixNames: `SandboxWarmPool ${TEAM}/python`,
  },
  {
    name: 'a pool is half full',
    spoil: ({ change }) => change(SANDBOX_WARM_POOLS, 'python', { spec: { replicas: 2 } }),
    expected: ['warm-pools warning'],
    fixNames: `SandboxWarmPool ${TEAM}/python`,
  },
  {
    name: "a pool's template is gone",
    spoil: ({ remove }) => remove(SANDBOX_TEMPLATES, 'python'),
    expected: ['warm-pools failure'],
    fixNames: `SandboxTemplate ${TEAM}/python`,
  },
  {
    name: 'many claims started cold',
    spoil: async ({ change }) => {
      const cold = { metadata: { labels: { 'agents.x-k8s.io/launch-type': 'cold' } } };
      for (const name of ['python-claimed-1', 'python-claimed-2']) await change(SANDBOXES, name, cold);
    },
    expected: ['warm-pools warning'],
    fixNames: `SandboxWarmPool ${TEAM}/python`,
  },
  {
    name: 'a claim asks a pool that does not exist',
    spoil: ({ change }) => change(SANDBOX_CLAIMS, 'claim-1', { spec: { warmPoolRef: { name: 'ruby' } } }),
    expected: ['warm-pools warning'],
    fixNames: `SandboxWarmPool ${TEAM}/ruby`,
  },
  {
    name: 'snapshots go to a storage that does not exist',
    spoil: ({ change }) => change(POD_SNAPSHOT_POLICIES, 'sandboxes', { spec: { storageConfigName: 'lost' } }),
    expected: ['snapshots failure'],
    fixNames: 'PodSnapshotStorageConfig lost',
  },
  {
    name: 'no snapshot policy selects the sandboxes',
    spoil: ({ change }) =>
      change(POD_SNAPSHOT_POLICIES, 'sandboxes', { spec: { selector: { matchLabels: { team: 'b' } } } }),
    expected: ['snapshots warning'],
    fixNames: `Sandbox ${TEAM}/box-running`,
  },
  {
    name: 'a paused sandbox has no snapshot',
    spoil: ({ remove }) => remove(POD_SNAPSHOTS, 'box-paused-1'),
    expected: ['snapshots failure'],
    fixNames: `Sandbox ${TEAM}/box-paused`,
  },
  {
    name: 'no node has gVisor',
    spoil: ({ change }) => change(NODES, 'sandboxes-1', { metadata: { labels: { 'sandbox.gke.io/runtime': null } } }),
    expected: ['node-pools failure'],
    fixNames: 'RuntimeClass gvisor',
  },
  {
    name: 'the only node is cordoned',
    spoil: ({ change }) => change(NODES, 'sandboxes-1', { spec: { unschedulable: true } }),
    expected: ['node-pools failure'],
    fixNames: 'Node sandboxes-1',
  },
  {
    name: 'nodes are of two architectures',
    spoil: (cluster) => makeNode(cluster, 'sandboxes-2', 'arm64'),
    expected: ['node-pools warning'],
    fixNames: 'RuntimeClass gvisor',
  },
  {
    name: 'a template requests nothing',
    spoil: ({ change }) =>
      change(SANDBOX_TEMPLATES, 'python', templateSpec({ containers: [{ name: 'agent', image: 'agent' }] })),
    expected: ['node-pools warning'],
    fixNames: `SandboxTemplate ${TEAM}/python`,
  },
  {
    name: 'a pool wants more than the nodes hold',
    spoil: async ({ change }) => {
      await change(SANDBOX_WARM_POOLS, 'python', { spec: { replicas: 16 } });
      await change(SANDBOX_WARM_POOLS, 'python', { status: { readyReplicas: 16 } }, 'status');
    },
    expected: ['node-pools warning'],
    fixNames: `SandboxWarmPool ${TEAM}/python`,
  },
];
