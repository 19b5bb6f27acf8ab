import { type BadRequest, container, create, PODS, podSpec, SANDBOXES, sandbox, TEMPLATES, volume } from './request.ts';

const forbidden = (field: string) => new RegExp(`${field.replace(/[.[\]]/g, '\\$&')}: Forbidden: .{20,}`);
/** Pods that reach for the machine, or smuggle something into it. */
export const hostile: BadRequest[] = [
  create(
    'a path of the host',
    SANDBOXES,
    volume('host', { hostPath: { path: '/' } }),
    forbidden('spec.podTemplate.spec.volumes[0].hostPath'),
  ),
  create(
    'a path of the host, as a Pod',
    PODS,
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'bad' },
      spec: podSpec({ volumes: [{ name: 'host', hostPath: { path: '/' } }] }),
    },
    forbidden('spec.volumes[0].hostPath'),
  ),
  create(
    'a path of the host, in a template',
    TEMPLATES,
    {
      apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
      kind: 'SandboxTemplate',
      metadata: { name: 'bad' },
      spec: { podTemplate: { spec: podSpec({ volumes: [{ name: 'host', hostPath: { path: '/' } }] }) } },
    },
    forbidden('spec.podTemplate.spec.volumes[0].hostPath'),
  ),
  create(
    'a path of the host, in the form of GKE',
    '/apis/sandbox.gke.io/v1/namespaces/default/sandboxes',
    {
      apiVersion: 'sandbox.gke.io/v1',
      kind: 'Sandbox',
      metadata: { name: 'bad' },
      spec: { template: { spec: podSpec({ volumes: [{ name: 'host', hostPath: { path: '/' } }] }) } },
    },
    forbidden('spec.template.spec.volumes[0].hostPath'),
  ),
  create(
    'the network of the host',
    SANDBOXES,
    sandbox({ pod: { hostNetwork: true } }),
    forbidden('spec.podTemplate.spec.hostNetwork'),
  ),
  create(
    'the processes of the host',
    SANDBOXES,
    sandbox({ pod: { hostPID: true } }),
    forbidden('spec.podTemplate.spec.hostPID'),
  ),
  create(
    'the IPC of the host',
    SANDBOXES,
    sandbox({ pod: { hostIPC: true } }),
    forbidden('spec.podTemplate.spec.hostIPC'),
  ),
  create(
    'a port of the host',
    SANDBOXES,
    sandbox({ main: { ports: [{ containerPort: 80, hostPort: 80 }] } }),
    forbidden('spec.podTemplate.spec.containers[0].ports[0].hostPort'),
  ),
  create(
    'a privileged container',
    SANDBOXES,
    sandbox({ main: { securityContext: { privileged: true } } }),
    forbidden('spec.podTemplate.spec.containers[0].securityContext.privileged'),
  ),
  create(
    'a privileged init container',
    SANDBOXES,
    sandbox({ pod: { initContainers: [container({ name: 'init', securityContext: { privileged: true } })] } }),
    forbidden('spec.podTemplate.spec.initContainers[0].securityContext.privileged'),
  ),
  create(
    'a device',
    SANDBOXES,
    sandbox({ main: { volumeDevices: [{ name: 'x', devicePath: '/dev/sda' }] } }),
    forbidden('spec.podTemplate.spec.containers[0].volumeDevices'),
  ),
  create(
    'a mount that climbs',
    SANDBOXES,
    volume('data', { emptyDir: {} }, '/data/../../etc'),
    /volumeMounts\[0\]\.mountPath/,
  ),
  create('a relative mount', SANDBOXES, volume('data', { emptyDir: {} }, 'data'), /volumeMounts\[0\]\.mountPath/),
  create('a mount over everything', SANDBOXES, volume('data', { emptyDir: {} }, '/'), /volumeMounts\[0\]\.mountPath/),
  create('a mount with a NUL', SANDBOXES, volume('data', { emptyDir: {} }, '/da\0ta'), /volumeMounts\[0\]\.mountPath/),
  create(
    'a sub-path that climbs',
    SANDBOXES,
    sandbox({
      pod: { volumes: [{ name: 'data', emptyDir: {} }] },
      main: { volumeMounts: [{ name: 'data', mountPath: '/data', subPath: '../../x' }] },
    }),
    /volumeMounts\[0\]\.subPath.*must not contain|volumeMounts\[0\]\.subPath/,
  ),
  create(
    'an absolute sub-path',
    SANDBOXES,
    sandbox({
      pod: { volumes: [{ name: 'data', emptyDir: {} }] },
      main: { volumeMounts: [{ name: 'data', mountPath: '/data', subPath: '/etc' }] },
    }),
    /volumeMounts\[0\]\.subPath.*relative/,
  ),
  create(
    'a file of a ConfigMap that climbs',
    SANDBOXES,
    volume('files', { configMap: { name: 'good', items: [{ key: 'colour', path: '../../etc/passwd' }] } }),
    /volumes\[0\]\.configMap\.items\[0\]\.path/,
  ),
  create(
    'an absolute file of a Secret',
    SANDBOXES,
    volume('files', { secret: { secretName: 'x', items: [{ key: 'a', path: '/etc/passwd' }] } }),
    /volumes\[0\]\.secret\.items\[0\]\.path/,
  ),
  create(
    'a projected file that climbs',
    SANDBOXES,
    volume('files', {
      projected: { sources: [{ configMap: { name: 'good', items: [{ key: 'colour', path: 'a/../../b' }] } }] },
    }),
    /volumes\[0\]\.projected\.sources\[0\]\.configMap\.items\[0\]\.path/,
  ),
  create('a volume name that climbs', SANDBOXES, volume('../x', { emptyDir: {} }), /volumes\[0\]\.name/),
  create(
    'a claim template whose name climbs',
    SANDBOXES,
    sandbox({
      spec: {
        volumeClaimTemplates: [{ metadata: { name: '../x' }, spec: { resources: { requests: { storage: '1Mi' } } } }],
      },
    }),
    /spec\.volumeClaimTemplates\[0\]\.metadata\.name/,
  ),
  create('a container name that climbs', SANDBOXES, sandbox({ main: { name: '../x' } }), /containers\[0\]\.name/),
  create('an image that is a path', SANDBOXES, sandbox({ main: { image: '../../../etc' } }), /containers\[0\]\.image/),
  create('an absolute image', SANDBOXES, sandbox({ main: { image: '/etc/passwd' } }), /containers\[0\]\.image/),
  create('an image with a transport', SANDBOXES, sandbox({ main: { image: 'dir:/etc' } }), /containers\[0\]\.image/),
  create('an image that is a flag', SANDBOXES, sandbox({ main: { image: '--src-creds=x' } }), /containers\[0\]\.image/),
  create(
    'an image with blanks and more',
    SANDBOXES,
    sandbox({ main: { image: 'a b;$(reboot)' } }),
    /containers\[0\]\.image/,
  ),
  create(
    'an image whose repository climbs',
    SANDBOXES,
    sandbox({ main: { image: 'registry.example.com/../../x:1' } }),
    /containers\[0\]\.image/,
  ),
  create('an image without a name', SANDBOXES, sandbox({ main: { image: '' } }), /containers\[0\]\.image/),
  create(
    'a variable with an equals sign',
    SANDBOXES,
    sandbox({ main: { env: [{ name: 'A=B', value: 'x' }] } }),
    /env\[0\]\.name/,
  ),
  create(
    'a variable with a NUL',
    SANDBOXES,
    sandbox({ main: { env: [{ name: 'A', value: 'x\0LD_PRELOAD=y' }] } }),
    /env\[0\]\.value/,
  ),
  create('a command with a NUL', SANDBOXES, sandbox({ main: { command: ['sh', '-c', 'a\0b'] } }), /command\[2\]/),
  create('a relative working directory', SANDBOXES, sandbox({ main: { workingDir: '../..' } }), /workingDir/),
  create('a host name with a line break', SANDBOXES, sandbox({ pod: { hostname: 'a\nb' } }), /hostname/),
  create(
    'a name server that is none',
    SANDBOXES,
    sandbox({ pod: { dnsPolicy: 'None', dnsConfig: { nameservers: ['8.8.8.8\nsearch evil'] } } }),
    /dnsConfig\.nameservers\[0\]/,
  ),
  create(
    'a search domain with a line break',
    SANDBOXES,
    sandbox({ pod: { dnsConfig: { searches: ['a\nnameserver 6.6.6.6'] } } }),
    /dnsConfig\.searches\[0\]/,
  ),
  create(
    'a line of /etc/hosts that is two',
    SANDBOXES,
    sandbox({ pod: { hostAliases: [{ ip: '10.0.0.1', hostnames: ['a\n6.6.6.6 b'] }] } }),
    /hostAliases\[0\]\.hostnames\[0\]/,
  ),
  create(
    'a user below zero',
    SANDBOXES,
    sandbox({ main: { securityContext: { runAsUser: -1 } } }),
    /securityContext\.runAsUser/,
  ),
  create(
    'a claim that climbs',
    SANDBOXES,
    volume('data', { persistentVolumeClaim: { claimName: '../../x' } }),
    /persistentVolumeClaim\.claimName/,
  ),
];
