"""The published Agent Sandbox SDK, unmodified, with its GKE snapshot extension, against a router. Prints one JSON object of what it saw.

argv: the router's URL, its token, the warm pool.
"""

import json
import sys

from k8s_agent_sandbox.gke_extensions.snapshots import PodSnapshotSandboxClient
from k8s_agent_sandbox.models import SandboxDirectConnectionConfig

url, token, pool = sys.argv[1:]
connection = SandboxDirectConnectionConfig(
    api_url=url, server_port=8888, extra_headers={"Authorization": f"Bearer {token}"}
)
COUNTER = """
import threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
n = 0
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global n
        n += 1
        self.send_response(200); self.end_headers(); self.wfile.write(str(n).encode())
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", 7000), Handler).serve_forever()
"""
STEP = (
    "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:7000\").read().decode())'"
)
seen = {}
client = PodSnapshotSandboxClient(connection_config=connection)
sandbox = client.create_sandbox(warmpool=pool)
sandbox.files.write("counter.py", COUNTER)
sandbox.commands.run("python3 counter.py >/dev/null 2>&1 & until " + STEP + " >/dev/null 2>&1; do sleep 0.1; done")


def step():
    return int(sandbox.commands.run(STEP).stdout)


def names(result):
    return [snapshot.snapshot_uid for snapshot in result.snapshots]


def outcome(response):
    return [response.success, response.restored_from_snapshot, response.error_reason]


seen["steps"] = [step()]
sandbox.files.write("file.txt", "first")
first = sandbox.snapshots.create("first")
seen["first"] = [first.success, first.error_reason]
seen["steps"].append(step())
sandbox.files.write("file.txt", "second")
second = sandbox.snapshots.create("second")
seen["listed"] = names(sandbox.snapshots.list()) == [second.snapshot_uid, first.snapshot_uid]
seen["source"] = sandbox.snapshots.list().snapshots[0].source_pod == sandbox.sandbox_id

suspended = sandbox.suspend()
seen["suspend"] = [suspended.success, suspended.error_reason, sandbox.is_suspended()]
before = names(sandbox.snapshots.list())
# The two asked for, the one that suspend() asks for, and the one of the suspension itself.
seen["while suspended"] = [len(before), before[-2:] == [second.snapshot_uid, first.snapshot_uid]]
resumed = sandbox.resume()
seen["resume"] = outcome(resumed) + [resumed.snapshot_uid == before[0]]
seen["steps"].append(step())
seen["file"] = [sandbox.files.read("file.txt").decode()]

sandbox.suspend()
restored = sandbox.restore(first.snapshot_uid)
seen["restore"] = outcome(restored) + [restored.snapshot_uid == first.snapshot_uid]
seen["steps"].append(step())
seen["file"].append(sandbox.files.read("file.txt").decode())
seen["restore while running"] = sandbox.restore(first.snapshot_uid).error_reason

deleted = sandbox.snapshots.delete(first.snapshot_uid)
seen["deleted"] = [deleted.success, first.snapshot_uid in names(sandbox.snapshots.list())]
sandbox.suspend()
seen["all deleted"] = [sandbox.snapshots.delete_all().success, names(sandbox.snapshots.list())]
seen["restore of none"] = sandbox.restore(first.snapshot_uid).error_reason.split("' ")[-1]
fresh = sandbox.resume()
seen["fresh"] = outcome(fresh)
seen["files"] = [entry.name for entry in sandbox.files.list("")]
sandbox.terminate()
print(json.dumps(seen))
