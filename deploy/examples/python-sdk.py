"""Claims a sandbox and works in it through the router, with the Agent Sandbox SDK as published (pip install k8s-agent-sandbox==1.0.8).

KUBECONFIG says where claims are made; SANDBOX_ROUTER_URL and SANDBOX_ROUTER_TOKEN say how sandboxes are reached.
"""

import os

from k8s_agent_sandbox import SandboxClient
from k8s_agent_sandbox.models import SandboxDirectConnectionConfig

connection = SandboxDirectConnectionConfig(
    api_url=os.environ["SANDBOX_ROUTER_URL"],
    server_port=8888,
    # The router takes its credential from this header and sends the rest on to the sandbox.
    extra_headers={"Authorization": f"Bearer {os.environ['SANDBOX_ROUTER_TOKEN']}"},
)

# Leaving the block deletes the claims that were made in it.
with SandboxClient(connection_config=connection) as client:
    sandbox = client.create_sandbox(
        warmpool=os.environ.get("SANDBOX_WARM_POOL", "python"),
        namespace=os.environ.get("SANDBOX_NAMESPACE", "tenant-a"),
        shutdown_after_seconds=3600,
    )
    result = sandbox.commands.run("python3 -c 'print(6 * 7)'")
    print(f"{sandbox.sandbox_id}: exit code {result.exit_code}, {result.stdout.strip()}")

    sandbox.files.write("notes.txt", "kept while the sandbox sleeps\n")
    print(sandbox.files.read("notes.txt").decode(), end="")
