"""The traffic generator's count: whatever is not a whole, timely page is a failure of a kind."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cubicweb_leakdemo.runner.traffic import Traffic, free_port, port_in_use, send

PAGE = b"<html><body>a page</body></html>"


def answer(status: str, body: bytes, length: int | None = None) -> bytes:
    """Build a raw HTTP answer; ``length`` is what it claims to hold."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


@contextmanager
def server(raw: bytes | None) -> Iterator[int]:
    """Serve ``raw`` to each connection on a free port; None leaves the client waiting."""
    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.recv(4096)
            if raw is None:
                held.append(connection)
                continue
            connection.sendall(raw)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (answer("200 OK", PAGE), "answered"),
        (answer("200 OK", b"<html><body>half a"), "truncated"),
        (answer("200 OK", PAGE, length=5000), "truncated"),
        (answer("502 Bad Gateway", PAGE), "status"),
        (answer("303 See Other", PAGE), "status"),
        (b"", "empty"),
    ],
)
def test_an_answer_counts_only_when_it_is_whole(raw: bytes, kind: str) -> None:
    """Only a 200 whose body reaches the page's end is answered; the other ends have names."""
    with server(raw) as port:
        assert send("127.0.0.1", port, "/", late_s=5.0).kind == kind


def test_a_refused_connection_is_a_failure() -> None:
    """Nobody listening is counted as refused."""
    assert send("127.0.0.1", free_port(), "/", late_s=5.0).kind == "refused"


def test_a_late_answer_is_a_failure() -> None:
    """An answer that does not come in time is counted as late."""
    with server(None) as port:
        assert send("127.0.0.1", port, "/", late_s=0.2).kind == "late"


def test_the_count_adds_up() -> None:
    """Every request sent is answered or failed once stop() has returned, and each has its path."""
    asked: list[str] = []

    def path_of(number: int) -> str:
        asked.append(f"/{number}")
        return asked[-1]

    with server(answer("200 OK", PAGE)) as port:
        traffic = Traffic("127.0.0.1", port, path_of, rate=200.0)
        traffic.start()
        while traffic.count().answered < 20:
            assert not traffic.count().failed
            time.sleep(0.01)
        count = traffic.stop()
    assert count.sent == count.answered == len(asked)
    assert count.lost == 0
    assert asked[:3] == ["/0", "/1", "/2"]


def test_requests_go_on_leaving_while_none_is_answered() -> None:
    """A stuck server does not slow the sender down: its silence is counted, not waited for."""
    with server(None) as port:
        traffic = Traffic("127.0.0.1", port, lambda _: "/", rate=100.0, late_s=0.3)
        traffic.start()
        while traffic.count().lost < 10:
            time.sleep(0.01)
        count = traffic.stop()
    assert count.sent >= 30
    assert count.failed == {"late": count.sent}


def test_a_port_is_in_use_while_somebody_listens() -> None:
    """The demo sees that its port is taken before it makes anything."""
    with server(b"") as port:
        assert port_in_use(port)
    assert not port_in_use(port)
