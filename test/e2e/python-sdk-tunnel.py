"""The published Agent Sandbox SDK, unmodified, as it connects when it is told nothing: kubectl forwards a port of the router's Service, and for the sandboxd
runtime of the Pod. Prints one JSON object of what it saw.

argv: the warm pool. kubectl is on the PATH, KUBECONFIG says where.
"""

import json
import sys

from k8s_agent_sandbox import SandboxClient
from k8s_agent_sandbox.gke_extensions.snapshots import PodSnapshotSandboxClient
from k8s_agent_sandbox.models import SandboxdPodTunnelConnectionConfig

pool = sys.argv[1]
seen = {}


def tour(sandbox):
    sandbox.files.write("notes.txt", "kept ä\n")
    result = sandbox.commands.run("cat notes.txt; echo err >&2; exit 3")
    return {
        "run": [result.stdout, result.stderr, result.exit_code],
        "read": sandbox.files.read("notes.txt").decode(),
        "names": [entry.name for entry in sandbox.files.list("")],
        "exists": [sandbox.files.exists("notes.txt"), sandbox.files.exists("none")],
    }


client = SandboxClient()
sandbox = client.create_sandbox(warmpool=pool)
seen["default"] = tour(sandbox)
client.delete_all()

client = PodSnapshotSandboxClient()
sandbox = client.create_sandbox(warmpool=pool)
sandbox.commands.run("sleep 1000 >/dev/null 2>&1 & echo $! > pid")
taken = sandbox.snapshots.create("taken")
listed = [snapshot.snapshot_uid for snapshot in sandbox.snapshots.list().snapshots]
suspended = sandbox.suspend()
resumed = sandbox.resume()
seen["snapshots"] = [taken.success, listed == [taken.snapshot_uid], suspended.success, resumed.success]
seen["same process"] = sandbox.commands.run("kill -0 $(cat pid) && echo runs").stdout
sandbox.terminate()

client = SandboxClient(connection_config=SandboxdPodTunnelConnectionConfig())
sandbox = client.create_sandbox(warmpool=pool)
seen["sandboxd"] = tour(sandbox)
client.delete_all()
print(json.dumps(seen))
