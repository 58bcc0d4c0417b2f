"""A drain serves a connection in every state it can be in, from the kernel's queue to the last byte."""

import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from cubicweb_leakwatch.serve import drain

HEAD = b"Host: test\r\n\r\n"


class Application:
    """A WSGI application whose requests wait, where asked, until the test lets them go on."""

    def __init__(self):
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.size = 8_000_000

    def __call__(self, environ, start_response):
        """Answer the path and the length of the body."""
        path = environ["PATH_INFO"]
        self.entered.release()
        if path.startswith("/wait"):
            self.go.wait(10)
        received = len(environ["wsgi.input"].read())
        body = b"z" * self.size if path == "/big" else f"{path} {received}".encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def app():
    """Return the application, and let it go at the end."""
    application = Application()
    yield application
    application.go.set()


@pytest.fixture
def served(serve_app, app):
    """Return it served."""
    return serve_app(app)


class Answer:
    """One HTTP response read to its last byte; anything less is an error."""

    def __init__(self, stream):
        status = stream.readline()
        assert status, "EMPTY: the connection was closed without an answer"
        self.status = int(status.split()[1])
        self.headers = {}
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _colon, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        length = int(self.headers["content-length"])
        self.body = stream.read(length)
        assert len(self.body) == length, "TRUNCATED"

    @property
    def closes(self):
        """Whether it is the last response of its connection."""
        return self.headers.get("connection", "").lower() == "close"


def get(client, path, version="1.1", more=b""):
    """Send a GET."""
    client.sendall(f"GET {path} HTTP/{version}\r\n".encode() + more + HEAD)


def at_end(stream):
    """Whether the server has closed."""
    return stream.read(1) == b""


def test_state_1_in_the_kernels_queue_is_left_to_whoever_holds_the_socket(served):
    """A connection that nobody has accepted is not lost when the worker leaves: it waits for the successor."""
    served.drain()
    late = served.connect()
    get(late, "/late")
    served.end()
    connection, _address = served.listener.accept()
    assert connection.recv(4) == b"GET "


def test_state_1_what_already_waits_when_the_drain_begins_is_taken(serve_app, app):
    """A worker that is the last to hold the socket serves what waits in its queue."""
    served = serve_app(app)
    clients = [served.connect() for _each in range(20)]
    served.drain()
    for client in clients:
        get(client, "/queued")
    assert [Answer(client.makefile("rb")).status for client in clients] == [200] * 20


def test_state_2_accepted_and_silent_is_served(served):
    """A client that has connected and said nothing yet gets its first request answered."""
    client = served.connect()
    served.accepted(1)
    served.drain()
    get(client, "/first")
    answer = Answer(client.makefile("rb"))
    assert (answer.status, answer.closes) == (200, True)


def test_state_3_half_a_head_is_read_to_the_end(served):
    """A request head that is half read when the drain begins is answered."""
    client = served.connect()
    client.sendall(b"GET /half HTTP/1.1\r\nHo")
    served.accepted(1)
    served.drain()
    client.sendall(b"st: test\r\n\r\n")
    answer = Answer(client.makefile("rb"))
    assert (answer.status, answer.closes) == (200, True)


def test_state_4_half_a_body_is_read_to_the_end(served):
    """An upload that is under way when the drain begins is answered, with all of its body."""
    client = served.connect()
    client.sendall(b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello")
    served.accepted(1)
    served.drain()
    client.sendall(b"world")
    answer = Answer(client.makefile("rb"))
    assert (answer.body, answer.closes) == (b"/upload 10", True)


def test_state_4_a_client_that_waits_for_continue_gets_it(served):
    """``Expect: 100-continue`` is answered during the drain too."""
    client = served.connect()
    client.sendall(b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-cont")
    served.accepted(1)
    served.drain()
    client.sendall(b"inue\r\n\r\n")
    stream = client.makefile("rb")
    assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
    stream.readline()
    client.sendall(b"hello")
    assert Answer(stream).body == b"/upload 5"


def test_state_5_a_queued_request_is_not_cancelled(serve_app, app):
    """With one thread and three requests, those that wait for the thread are answered as well."""
    served = serve_app(app, threads=1)
    clients = [served.connect() for _each in range(3)]
    for client in clients:
        get(client, "/wait")
    assert app.entered.acquire(timeout=5)
    served.drain()
    app.go.set()
    assert [Answer(client.makefile("rb")).status for client in clients] == [200] * 3


def test_state_6_an_executing_request_is_waited_for(served, app):
    """A request that runs when the drain begins is answered with ``Connection: close``."""
    client = served.connect()
    get(client, "/wait")
    assert app.entered.acquire(timeout=5)
    served.drain()
    assert served.server.desk.in_flight == 1
    app.go.set()
    assert Answer(client.makefile("rb")).closes


def test_state_6_a_thread_whose_client_has_left_is_waited_for(served, app, wait):
    """The client has gone, its transaction has not: the worker does not end under it."""
    client = served.connect()
    get(client, "/wait")
    assert app.entered.acquire(timeout=5)
    client.close()
    served.drain()
    assert served.thread.is_alive()
    app.go.set()
    balance = served.end()
    assert (balance.accepted, balance.abandoned, balance.in_flight) == (1, 0, 0)


def test_state_7_a_response_being_written_is_complete(served, app, wait):
    """8 MB to a client that reads slowly: not one byte is missing."""
    client = served.connect()
    get(client, "/big")
    assert app.entered.acquire(timeout=5)
    wait(lambda: any(channel.total_outbufs_len for channel in served.server.desk.channels), "a full buffer")
    served.drain()
    assert len(Answer(client.makefile("rb")).body) == app.size


def test_state_8_an_idle_connection_may_bring_one_more_request(served):
    """A kept-alive connection is answered once more, and told to close."""
    client = served.connect()
    stream = client.makefile("rb")
    get(client, "/one")
    assert not Answer(stream).closes
    served.drain()
    get(client, "/two")
    assert Answer(stream).closes
    assert at_end(stream)


def test_state_8_an_idle_connection_is_not_waited_for_to_the_end(serve_app, app):
    """A kept-alive connection that stays idle is closed with FIN, after its share of the time."""
    served = serve_app(app, limit_s=8.0, idle_s=0.3)
    client = served.connect()
    stream = client.makefile("rb")
    get(client, "/one")
    Answer(stream)
    served.drain()
    assert at_end(stream)
    stream.close()
    client.close()
    balance = served.end()
    assert (balance.accepted, balance.answered, balance.abandoned) == (1, 1, 0)


def test_state_9_pipelined_requests_are_all_answered(served, app):
    """Two requests sent at once: only the last answer says close."""
    client = served.connect()
    stream = client.makefile("rb")
    client.sendall(b"GET /wait1 HTTP/1.1\r\n" + HEAD + b"GET /two HTTP/1.1\r\n" + HEAD)
    assert app.entered.acquire(timeout=5)
    served.drain()
    app.go.set()
    first, second = Answer(stream), Answer(stream)
    assert [(first.body, first.closes), (second.body, second.closes)] == [(b"/wait1 0", False), (b"/two 0", True)]


def test_state_9_a_request_unread_behind_an_executing_one_is_answered(served, app, wait):
    """The second request comes while the first runs, and waits unread in the kernel: it is not thrown away."""
    client = served.connect()
    stream = client.makefile("rb")
    get(client, "/wait1")
    assert app.entered.acquire(timeout=5)
    served.drain()
    get(client, "/two")
    channel = next(iter(served.server.desk.channels))
    wait(channel._bytes_pending, "the second request in the kernel's buffer")
    app.go.set()
    assert [Answer(stream).closes, Answer(stream).closes] == [False, True]


def test_state_10_the_last_byte_survives_a_client_that_still_sends(served, app):
    """FIN first and read on: closing at once with bytes unread would answer RST and destroy the response."""
    client = served.connect()
    get(client, "/big", more=b"Connection: close\r\n")
    assert app.entered.acquire(timeout=5)
    client.sendall(b"surplus that nobody reads")
    served.drain()
    assert len(Answer(client.makefile("rb")).body) == app.size


def test_state_10_clients_that_do_not_close_hold_up_nobody(served):
    """Three clients keep their side open after ``Connection: close``; the next client waits less than 50 ms."""
    stubborn = [served.connect() for _each in range(3)]
    streams = []
    for client in stubborn:
        get(client, "/x", more=b"Connection: close\r\n")
        streams.append(client.makefile("rb"))
        assert Answer(streams[-1]).closes
    began = time.monotonic()
    client = served.connect()
    get(client, "/next")
    assert Answer(client.makefile("rb")).status == 200
    assert time.monotonic() - began < 0.05


def test_http_1_0_keep_alive_gets_one_connection_header(served):
    """An HTTP/1.0 client that asked for keep-alive is told to close, once."""
    client = served.connect()
    served.announce()
    get(client, "/x", version="1.0", more=b"Connection: keep-alive\r\n")
    raw = client.makefile("rb").read()
    assert raw.lower().count(b"connection:") == 1
    assert b"Connection: close" in raw


def test_announcing_asks_clients_to_leave_while_new_ones_are_served(served):
    """From the announcement on, answers carry close; new connections are still accepted."""
    served.announce()
    for _each in range(2):
        client = served.connect()
        get(client, "/x")
        assert Answer(client.makefile("rb")).closes


def test_a_withdrawn_announcement_keeps_connections_alive(served, wait):
    """The successor failed: answers no longer carry close."""
    served.announce()
    served.server.tell(signal.SIGUSR2)
    wait(lambda: not served.server.desk.announcing, "the withdrawal")
    client = served.connect()
    get(client, "/x")
    assert not Answer(client.makefile("rb")).closes


def test_the_guard_ends_the_drain_and_names_what_is_lost(serve_app, app):
    """At the time limit: an executing request, half a head and half a body are abandoned, by path, age and state."""
    served = serve_app(app, limit_s=0.5)
    executing, head, body, silent = (served.connect() for _each in range(4))
    get(executing, "/wait")
    head.sendall(b"GET /half HT")
    body.sendall(b"POST /crawl HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nx")
    assert app.entered.acquire(timeout=5)
    served.accepted(4)
    served.drain()
    balance = served.end()
    named = {(lost.path, lost.state) for lost in served.server.desk.books.named}
    assert named == {("/wait", "executing"), ("?", "head half read"), ("/crawl", "body half read")}
    assert balance.accepted == 4
    assert balance.abandoned == 3
    assert balance.client_left == 1, "a connection that never spoke asked for nothing"
    assert silent.recv(1) == b""


def test_a_client_that_never_reads_is_ended_by_the_guard(serve_app, app, wait):
    """A response that nobody reads holds the worker no longer than the time limit, and is named."""
    served = serve_app(app, limit_s=0.5)
    client = served.connect()
    get(client, "/big")
    wait(lambda: any(channel.total_outbufs_len for channel in served.server.desk.channels), "a full buffer")
    served.drain()
    balance = served.end()
    assert balance.abandoned == 1
    assert served.server.desk.books.named[0].state in ("response being written", "executing")


def test_500_slow_lorises_do_not_keep_an_honest_client_waiting(served):
    """500 connections drip a head byte by byte; a request accepted before the drain is answered at once."""
    lorises = [served.connect() for _each in range(500)]
    for loris in lorises:
        loris.sendall(b"G")
    honest = served.connect()
    served.accepted(501)
    served.drain()
    began = time.monotonic()
    get(honest, "/honest")
    assert Answer(honest.makefile("rb")).status == 200
    assert time.monotonic() - began < 1.0
    for loris in lorises:
        loris.close()
    balance = served.end()
    assert (balance.answered, balance.client_left, balance.abandoned) == (1, 500, 0)


def test_a_client_that_leaves_is_not_counted_as_ours(served, app):
    """accepted = answered + client left: a client that hangs up mid-request is its own loss."""
    client = served.connect()
    client.sendall(b"POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf")
    served.accepted(1)
    served.drain()
    client.close()
    balance = served.end()
    assert (balance.accepted, balance.answered, balance.client_left, balance.abandoned) == (1, 0, 1, 0)


def test_the_balance_sheet_counts_every_request_of_a_connection(served):
    """Five requests on one connection are five; blank lines between them are none."""
    client = served.connect()
    stream = client.makefile("rb")
    for _each in range(5):
        get(client, "/x")
        Answer(stream)
        client.sendall(b"\r\n")
    stream.close()
    client.close()
    served.drain()
    balance = served.end()
    assert (balance.accepted, balance.answered, balance.client_left) == (5, 5, 0)


def test_an_application_error_is_an_answer(serve_app):
    """A traceback becomes waitress's 500, counted once as answered."""

    def broken(environ, start_response):
        raise RuntimeError("broken on purpose")

    served = serve_app(broken)
    client = served.connect()
    get(client, "/x")
    assert Answer(client.makefile("rb")).status == 500
    client.close()
    served.drain()
    assert served.end().answered == 1


def test_unix_sockets_drain_alike(serve_app, app, tmp_path):
    """A Unix socket is served and drained the same way."""
    served = serve_app(app, family=socket.AF_UNIX, path=str(tmp_path / "s"))
    client = served.connect()
    served.accepted(1)
    served.drain()
    get(client, "/x")
    assert Answer(client.makefile("rb")).closes


def test_closed_connections_leave_nothing_behind(served):
    """Ten rounds of 50 connections: no channel, no account, no descriptor stays."""

    def round_of_fifty():
        for _each in range(50):
            client = served.connect()
            get(client, "/x", more=b"Connection: close\r\n")
            client.makefile("rb").read()
            client.close()

    round_of_fifty()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _round in range(10):
        round_of_fifty()
    deadline = time.monotonic() + 5
    while served.server.desk.channels and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not served.server.desk.channels
    assert not served.server.desk.books._open
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_jump_of_the_wall_clock_cuts_nobody_off(served, monkeypatch):
    """Half an upload, then the clock goes a day ahead: what counts is for how long nothing has moved."""
    client = served.connect()
    client.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    served.accepted(1)
    ahead = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    other = served.connect()
    get(other, "/")
    assert Answer(other.makefile("rb")).status == 200
    client.sendall(b"67890")
    assert Answer(client.makefile("rb")).status == 200


@pytest.mark.parametrize("half", [b"", b"GET / HTTP/1.1\r\nHost"])
def test_a_client_that_says_nothing_any_more_is_let_go(serve_app, app, monkeypatch, half):
    """After two minutes without a byte, before the first request or within one, its place is another's."""
    served = serve_app(app)
    client = served.connect()
    client.sendall(half)
    served.accepted(1)
    monkeypatch.setattr(drain, "SILENCE_S", 0.3)
    assert at_end(client.makefile("rb"))


def test_what_a_drain_tells_may_fail(serve_app, app):
    """Somebody who is told that the drain begins raises: what is in flight is answered all the same."""
    served = serve_app(app)
    served.server.on_drain.append(lambda: 1 / 0)
    client = served.connect()
    get(client, "/wait")
    assert app.entered.acquire(timeout=10)
    served.drain()
    app.go.set()
    assert Answer(client.makefile("rb")).status == 200
    served.end()
