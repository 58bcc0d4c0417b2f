"""How a probe and its askers talk: one JSON document a line each way, over a Unix socket whose peer is checked."""

import json
import os
import socket
import struct
import time
from typing import Any

MAX_QUESTION = 64 * 1024
"""Bytes of a question; the longest real one is a few hundred."""

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer; type counts of a large process are below 1 MiB."""


class WireError(Exception):
    """What came over the socket is not what was agreed; the message says how."""


def peer_uid(connection: socket.socket) -> int:
    """Return the user at the other end, as the kernel tells it (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def peer_allowed(connection: socket.socket) -> bool:
    """Say whether the peer is the instance's own user, or root, who needs no socket to look."""
    return peer_uid(connection) in (os.geteuid(), 0)


def send(connection: socket.socket, document: object) -> None:
    """Send one document; raises ``OSError`` when the peer has gone."""
    connection.sendall(json.dumps(document, separators=(",", ":")).encode() + b"\n")


def receive(connection: socket.socket, limit: int, timeout_s: float) -> dict[str, Any]:
    """Read one document of at most ``limit`` bytes within ``timeout_s`` seconds in all.

    Raises ``WireError`` for anything else than one JSON object on a line, ``TimeoutError`` past the deadline.
    """
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    while not received.endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        piece = connection.recv(65536)
        if not piece:
            raise WireError("the other side hung up before the end of the line")
        received += piece
        if len(received) > limit:
            raise WireError(f"more than {limit} bytes without the end of the line")
        if time.monotonic() > deadline:
            raise TimeoutError("no complete answer in time")
    return _parse(bytes(received))


def _parse(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(document, dict):
        raise WireError("not a JSON object")
    return document
