"""The official Kubernetes client against an engine: python-client.py NAMESPACE. Prints what it saw as one line of JSON."""

import json
import sys
import threading

from kubernetes import client, config, stream, watch
from kubernetes.client.rest import ApiException

namespace = sys.argv[1]
config.load_kube_config()
core = client.CoreV1Api()
custom = client.CustomObjectsApi()
sandboxes = ("agents.x-k8s.io", "v1beta1", namespace, "sandboxes")
seen = {}

core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))

# Watch first, so that every change has to come through it.
events = []
ready = threading.Event()


def follow():
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    ready.set()
    for event in watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=60
    ):
        events.append([event["type"], event["object"].metadata.name, (event["object"].data or {}).get("n")])
        if event["type"] == "DELETED":
            return


follower = threading.Thread(target=follow)
follower.start()
ready.wait(30)

name = "settings"
core.create_namespaced_config_map(
    namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"a": "b"}), data={"n": "1"})
)
core.patch_namespaced_config_map(name, namespace, {"data": {"n": "2"}})
changed = core.read_namespaced_config_map(name, namespace)
changed.data["n"] = "3"
core.replace_namespaced_config_map(name, namespace, changed)
try:
    core.replace_namespaced_config_map(name, namespace, changed)
except ApiException as error:
    seen["stale"] = [error.status, json.loads(error.body)["reason"]]
core.delete_namespaced_config_map(name, namespace)
follower.join(60)
seen["watched"] = events

# Pages.
for number in range(5):
    core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"page-{number}", labels={"page": "yes"}))
    )
names, token = [], None
while True:
    page = core.list_namespaced_config_map(namespace, label_selector="page=yes", limit=2, _continue=token)
    names.append([item.metadata.name for item in page.items])
    token = page.metadata._continue
    if not token:
        break
seen["pages"] = names

# A sandbox as a custom object: create, watch until it is ready, patch in three ways.
custom.create_namespaced_custom_object(
    *sandboxes,
    body={
        "apiVersion": "agents.x-k8s.io/v1beta1",
        "kind": "Sandbox",
        "metadata": {"name": "box"},
        "spec": {
            "podTemplate": {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": "sandbox-router.local/toolbox"}],
                }
            }
        },
    },
)
watcher = watch.Watch()
for event in watcher.stream(custom.list_namespaced_custom_object, *sandboxes, timeout_seconds=60):
    conditions = event["object"].get("status", {}).get("conditions", [])
    if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        seen["ready"] = event["object"]["metadata"]["name"]
        watcher.stop()

patched = custom.patch_namespaced_custom_object(*sandboxes, "box", {"metadata": {"labels": {"merged": "yes"}}})
seen["merge"] = patched["metadata"]["labels"]
# A list is a JSON patch to this client, for kinds that it has types for.
patched = core.patch_namespaced_config_map("page-0", namespace, [{"op": "replace", "path": "/metadata/labels/page", "value": "no"}])
seen["json"] = patched.metadata.labels
try:
    custom.patch_namespaced_custom_object(*sandboxes, "box", {"spec": {"operatingMode": "Asleep"}})
except ApiException as error:
    seen["invalid"] = [error.status, json.loads(error.body)["details"]["causes"][0]["field"]]

# Into the pod: the client's own WebSocket protocols.
running = stream.stream(
    core.connect_get_namespaced_pod_exec,
    "box",
    namespace,
    command=["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"],
    stdin=True,
    stdout=True,
    stderr=True,
    tty=False,
    _preload_content=False,
)
running.write_stdin("words\n")
running.run_forever(timeout=60)
seen["exec"] = [running.read_stdout(), running.read_stderr(), running.returncode]

stream.stream(
    core.connect_get_namespaced_pod_exec,
    "box",
    namespace,
    command=["sh", "-c", "cd /tmp; setsid python3 -m http.server 7777 --bind 127.0.0.1 >/dev/null 2>&1 </dev/null & sleep 0.1"],
    stdout=True,
)
answer = b""
for _ in range(100):
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "box", namespace, ports="7777")
    socket = forward.socket(7777)
    try:
        socket.setblocking(True)
        socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = socket.recv(15)
    except OSError:
        pass
    if answer:
        break
seen["forwarded"] = answer.decode()
seen["log"] = core.read_namespaced_pod_log("box", namespace, tail_lines=0)

custom.delete_namespaced_custom_object(*sandboxes, "box", propagation_policy="Foreground")
core.delete_namespace(namespace)
print(json.dumps(seen))
