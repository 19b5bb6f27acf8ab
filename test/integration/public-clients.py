"""What Python's usual clients see of a sandbox, with or without the router between; prints one JSON object."""
import asyncio
import hashlib
import json
import os
import sys

import requests
import websockets

url = os.environ["SANDBOX_URL"]
token = os.environ.get("TOKEN")
headers = {"Authorization": "Bearer " + token} if token else {}
seen = {}


def digest(data):
    return hashlib.sha256(data).hexdigest()


session = requests.Session()
session.headers.update(headers)
for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
    answer = session.request(method, url + "/any%2Fpath?q=%20x", data=b"body", timeout=30)
    seen[method] = [answer.status_code, answer.json()["method"], answer.json()["url"], answer.json()["sizeBytes"]]
seen["head"] = session.head(url + "/", timeout=30).status_code
seen["empty"] = [session.get(url + f"/status/{status}", timeout=30).status_code for status in (204, 304, 404, 500)]
upload = os.urandom(1 << 16) * 64
answer = session.post(url + "/", data=upload, timeout=60)
seen["upload"] = answer.json()["sha256"] == digest(upload)
answer = session.post(url + "/", data=iter([upload[i : i + 70_000] for i in range(0, len(upload), 70_000)]), timeout=60)
seen["chunked upload"] = answer.json()["sha256"] == digest(upload)
answer = session.post(url + "/", files={"file": ("name.bin", upload)}, timeout=60)
seen["multipart"] = answer.json()["sizeBytes"] > len(upload)
with session.get(url + "/bytes?n=10000000", stream=True, timeout=60) as download:
    seen["download"] = [sum(len(part) for part in download.iter_content(100_000)), download.headers["content-length"]]
redirect = session.get(url + "/redirect", allow_redirects=False, timeout=30)
seen["redirect"] = [redirect.status_code, redirect.headers["location"].removeprefix(requests.utils.urlparse(url).path)]
seen["followed"] = session.get(url + "/redirect", timeout=30).json()["url"]
session.get(url + "/cookie", timeout=30)


async def converse():
    socket_url = url.replace("http", "ws", 1) + "/socket"
    async with websockets.connect(socket_url, additional_headers=headers, compression=None) as socket:
        heard = []
        for text in ("", "x", "é" * 20):
            await socket.send(text)
            heard.append(await socket.recv())
        await socket.send(b"\x00\xff" * 50)
        heard.append((await socket.recv()).hex())
        return heard


async def refused():
    try:
        async with websockets.connect(url.replace("http", "ws", 1) + "/socket", additional_headers={"Authorization": "Bearer wrong"}):
            return "connected"
    except websockets.exceptions.InvalidStatus as error:
        return error.response.status_code


seen["websocket"] = asyncio.run(converse())
if token:
    seen["refused"] = asyncio.run(refused())
json.dump(seen, sys.stdout)
