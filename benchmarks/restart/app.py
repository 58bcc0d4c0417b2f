"""The application every server of the benchmark serves: 20 ms answers, a 2 s page, uploads, a leak, a slow boot.

Environment: BOOT_S (what importing it takes), LEAK_BYTES (kept for ever by each request), STARTS (a file that gets one
line a process, so that replacements are counted the same way for every server), BROKEN (a file that says how this
process shall fail: import, hang, silent).
"""

import os
import time
from pathlib import Path

ANSWER_S, SLOW_S = 0.02, 2.0
LEAK_BYTES = int(os.environ.get("LEAK_BYTES", "0"))
HOARD = []

BROKEN = Path(os.environ.get("BROKEN", "/nonexistent"))
HOW = BROKEN.read_text() if BROKEN.exists() else ""

time.sleep(600.0 if HOW == "hang" else float(os.environ.get("BOOT_S", "0")))
if HOW == "import":
    raise ImportError("a module that is not there")
if "STARTS" in os.environ:
    with Path(os.environ["STARTS"]).open("a") as starts:
        starts.write(f"{os.getpid()}\n")


def leak():
    """Keep what this request is to leak, touched so that it counts."""
    if LEAK_BYTES:
        HOARD.append(os.urandom(16) * (LEAK_BYTES // 16))


def app(environ, start_response):
    """Answer by WSGI."""
    received = len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    if HOW == "silent":
        time.sleep(600.0)
    time.sleep(SLOW_S if environ["PATH_INFO"] == "/slow" else ANSWER_S)
    leak()
    body = f"{os.getpid()} {received}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    """Answer by ASGI, for the servers that speak nothing else."""
    import asyncio

    if scope["type"] != "http":
        return
    received = 0
    while True:
        message = await receive()
        received += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await asyncio.sleep(SLOW_S if scope["path"] == "/slow" else ANSWER_S)
    leak()
    body = f"{os.getpid()} {received}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
