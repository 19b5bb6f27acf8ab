"""The published Agent Sandbox SDK, unmodified, against a router. Prints one JSON object of what it saw; any exception fails the test.

argv: the router's URL, its token, the warm pool, a pool whose template allows environment variables.
"""

import io
import json
import sys

from k8s_agent_sandbox import SandboxClient
from k8s_agent_sandbox.exceptions import SandboxNotFoundError, SandboxRequestError, SandboxWarmPoolNotFoundError
from k8s_agent_sandbox.models import SandboxDirectConnectionConfig

url, token, pool, open_pool = sys.argv[1:]
connection = SandboxDirectConnectionConfig(
    api_url=url, server_port=8888, extra_headers={"Authorization": f"Bearer {token}"}
)
seen = {}


def failure(kind, call):
    try:
        call()
    except kind as error:
        return type(error).__name__
    return "nothing was raised"


client = SandboxClient(connection_config=connection)
sandbox = client.create_sandbox(
    warmpool=pool, pod_labels={"sandbox.users.io/session": "one"}, shutdown_after_seconds=600
)
seen["claim"] = sandbox.claim_name
seen["sandbox"] = sandbox.sandbox_id
seen["listed"] = [list(entry) for entry in client.list_active_sandboxes()]

result = sandbox.commands.run("echo out; echo err >&2; exit 3")
seen["run"] = [result.stdout, result.stderr, result.exit_code, result.timed_out]
seen["python"] = sandbox.commands.run("python3 -c 'print(6 * 7)'").stdout
late = sandbox.commands.run("echo before; sleep 30", command_timeout=0.5)
seen["timed out"] = [late.stdout, late.timed_out]

content = bytes(range(256)) * 4096
sandbox.files.write("data/blob.bin", content)
sandbox.files.write("notes.txt", "kept ä\n")
sandbox.files.write("streamed.bin", io.BytesIO(content))
seen["read"] = sandbox.files.read("data/blob.bin") == content
seen["streamed"] = sandbox.files.read("streamed.bin") == content
seen["text"] = sandbox.files.read("notes.txt").decode()
seen["names"] = sorted([entry.name, entry.type, entry.size] for entry in sandbox.files.list(""))
seen["exists"] = [sandbox.files.exists("notes.txt"), sandbox.files.exists("data/none")]
seen["missing"] = failure(SandboxRequestError, lambda: sandbox.files.read("none"))

again = client.get_sandbox(sandbox.claim_name)
seen["again"] = again.commands.run("cat notes.txt").stdout

cold = client.create_sandbox(warmpool=open_pool, env={"GREETING": "hello"})
seen["cold"] = [cold.sandbox_id == cold.claim_name, cold.commands.run("echo $GREETING").stdout]

seen["no pool"] = failure(SandboxWarmPoolNotFoundError, lambda: client.create_sandbox(warmpool="none"))
claim = sandbox.claim_name
client.delete_sandbox(claim)
client.delete_all()
seen["deleted"] = failure(SandboxNotFoundError, lambda: client.get_sandbox(claim, resolve_timeout=2))
print(json.dumps(seen))
