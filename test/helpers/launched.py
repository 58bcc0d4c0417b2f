"""Looking at what a launcher serves and runs from outside: an answer, a command line, a size."""

import socket
from pathlib import Path


def fetch(address, path="/", timeout_s=10):
    """Return the words of one answer: slot, generation, pid, bytes received."""
    with socket.create_connection(address, timeout=timeout_s) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return client.makefile("rb").read().partition(b"\r\n\r\n")[2].decode().split()


def command_of(pid):
    """Return what ``ps`` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def rss_kib_of(pid):
    """Return the resident memory of a process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status[status.index("VmRSS:") :].split()[1])
