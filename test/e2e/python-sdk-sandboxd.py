"""The published Agent Sandbox SDK, unmodified, with its sandboxd runtime: straight to the sandbox's address. Prints one JSON object.

argv: the warm pool.
"""

import io
import json
import sys

from k8s_agent_sandbox import SandboxClient, SandboxdInClusterConnectionConfig
from k8s_agent_sandbox.exceptions import SandboxRequestError

client = SandboxClient(connection_config=SandboxdInClusterConnectionConfig(mode="in-cluster-pod-ip"))
sandbox = client.create_sandbox(warmpool=sys.argv[1])
seen = {}

result = sandbox.commands.run("echo out; echo err >&2; exit 3")
seen["run"] = [result.stdout, result.stderr, result.exit_code, result.timed_out]
late = sandbox.commands.run("sleep 30", command_timeout=1)
seen["timed out"] = [late.exit_code, late.timed_out]

content = bytes(range(256)) * 4096
sandbox.files.write("data/blob.bin", content)
sandbox.files.write("streamed.bin", io.BytesIO(content))
sandbox.files.write("notes ä.txt", "kept ä\n")
seen["read"] = sandbox.files.read("data/blob.bin") == content
copy = io.BytesIO()
seen["read to"] = [sandbox.files.read_to("streamed.bin", copy), copy.getvalue() == content]
seen["names"] = sorted([entry.name, entry.type, entry.mode] for entry in sandbox.files.list(""))
seen["exists"] = [sandbox.files.exists("notes ä.txt"), sandbox.files.exists("data/none")]
seen["environment"] = sandbox.commands.run("pwd; echo $GREETING", env={"GREETING": "hello"}, cwd="data").stdout

try:
    sandbox.files.delete("data")
except SandboxRequestError as error:
    seen["not empty"] = error.status_code
sandbox.files.delete("data", recursive=True)
sandbox.files.delete("notes ä.txt")
seen["left"] = [entry.name for entry in sandbox.files.list("")]
try:
    sandbox.files.read("data/blob.bin")
except SandboxRequestError as error:
    seen["missing"] = error.status_code
client.delete_all()
print(json.dumps(seen))
