"""What a Python client sees of a sandbox that is asleep; prints one JSON object."""
import json
import os

import requests

url = os.environ["SANDBOX_URL"]
headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
seen = {}


def note(name, answer):
    seen[name] = {"status": answer.status_code, "headers": {k.lower(): v for k, v in answer.headers.items()}}
    if "json" in answer.headers.get("content-type", "") and answer.text:
        seen[name]["body"] = answer.json()


note("head", requests.head(url + "/", headers=headers, timeout=30))
preflight = {"Origin": "https://app.test", "Access-Control-Request-Method": "PUT"}
note("preflight", requests.options(url + "/api", headers={**headers, **preflight}, timeout=30))
note("unknown preflight", requests.options(url + "/other", headers={**headers, **preflight}, timeout=30))
note("fixed", requests.get(url + "/healthz?from=python", headers=headers, timeout=30))
note("monitor", requests.get(url + "/", headers={**headers, "User-Agent": "Pingdom.com_bot_version_1.4"}, timeout=30))
note("async", requests.get(url + "/", headers={**headers, "Prefer": "respond-async"}, timeout=30))
origin = url.rsplit("/", 1)[0]
location = origin + seen["async"]["headers"]["location"]
with requests.get(location, headers={**headers, "Accept": "text/event-stream"}, stream=True, timeout=30) as stream:
    seen["events"] = [line for line in stream.iter_lines(decode_unicode=True) if line]
note("status", requests.get(location, headers=headers, timeout=30))
note("awake", requests.get(url + "/", headers=headers, timeout=30))
print(json.dumps(seen))
