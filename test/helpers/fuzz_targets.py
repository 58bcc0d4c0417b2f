"""Every parser of what comes from outside, with examples of what it takes and the errors that it may answer with."""

import json
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyramid.request import Request

from cubicweb_leakwatch import audit, room
from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.heap.dumpfile import DumpUnreadable, decode, read_records
from cubicweb_leakwatch.metrics.munin import field_name
from cubicweb_leakwatch.probe import wire
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording.conclusions import read_findings
from cubicweb_leakwatch.recording.elsewhere import read_elsewhere
from cubicweb_leakwatch.recording.restartlog import finished_restarts
from cubicweb_leakwatch.routes import has_token
from cubicweb_leakwatch.serve.answers import Answers
from cubicweb_leakwatch.serve.controlsocket import ControlSocket
from cubicweb_leakwatch.serve.fleet import Fleet
from cubicweb_leakwatch.serve.notices import Notices
from cubicweb_leakwatch.serve.sdnotify import parse
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec
from cubicweb_leakwatch.views.span import asked_span
from cubicweb_leakwatch.watch.policy import parse_budget, parse_window
from cubicweb_leakwatch.watch.reading import UnreadableSamples, read
from cubicweb_leakwatch.watch.thinning import parse_keep
from cubicweb_leakwatch.watch.units import parse_duration, parse_size

FOLDER = Path(tempfile.mkdtemp(prefix="leakwatch-fuzz-"))


@dataclass(frozen=True)
class Target:
    """``feed`` takes any bytes; what it raises beside ``allowed`` is a fault. ``seeds`` are what it is made for."""

    name: str
    feed: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = ()


class Hands:
    """A fleet's hands that do nothing."""

    def start(self, *_told: object) -> int:
        """Return a pid."""
        return 1000

    def wall(self) -> float:
        """Return a time."""
        return 1.8e9

    def rss(self, _pid: object) -> None:
        """Return nothing known."""

    room = ready = signal = record = note = lambda self, *_told, **_named: None


def _fleet() -> Fleet:
    spec = LaunchSpec(instance="site", runtime_dir=str(FOLDER), bind=("127.0.0.1:0",), web=Child(command=("true",)))
    fleet = Fleet(spec, Hands())
    fleet.start(0.0)
    fleet.became_ready(1000, 1.0)
    return fleet


def _control(data: bytes) -> object:
    """A line on the launcher's control socket, answered by a fleet."""
    control = ControlSocket.__new__(ControlSocket)
    control.answer = Answers(_FLEET, _NO_JOURNAL, [], 0.0)
    answer = control._reply(data)
    _FLEET.replacements.queue.clear()
    return answer


class _NoJournal:
    counts: dict[str, dict[str, int]] = {}

    def after(self, _last: str) -> list[str]:
        """Return nothing finished."""
        return []


_FLEET, _NO_JOURNAL = _fleet(), _NoJournal()


def _notice(data: bytes) -> None:
    """A datagram of a child."""
    values = parse(data)
    values.pop("READY", None)
    Notices(_FLEET, None).take(1000, values, 5.0)
    _FLEET.replacements.queue.clear()


def _probe(data: bytes) -> object:
    """A question on a probe's socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        try:
            theirs.send(data[:60000])
        except BlockingIOError:
            return None
        theirs.shutdown(socket.SHUT_WR)
        return wire.receive(ours, wire.MAX_QUESTION, 1.0)


def _dump(data: bytes) -> None:
    for tag, payload in read_records(memoryview(data), "fuzz"):
        if tag == b"HEAD":
            decode(payload)


def _in_file(name: str, look: Callable[[Path], object]) -> Callable[[bytes], object]:
    def feed(data: bytes) -> object:
        (FOLDER / name).write_bytes(data)
        return look(FOLDER)

    return feed


def _cgroup(data: bytes) -> object:
    """The text of one of the files that tell how much memory there is."""
    text = data.decode("ascii", "replace")
    return room._number(text), room._kib(text), room._key_values(text)


def _room(data: bytes) -> object:
    for name in ("proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"):
        path = FOLDER / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = room.read_room(str(FOLDER / "root"))
    return found.available, found.total


def _text(parse_text: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse_text(data.decode("utf-8", "surrogateescape"))


def _span(text: str) -> Any:
    first, _comma, last = text.partition(",")
    return asked_span({"from": first, "to": last, "span": first}.get, 1.8e9)


def _token(data: bytes) -> bool:
    environ = {"HTTP_AUTHORIZATION": data.decode("latin-1"), "REQUEST_METHOD": "GET"}
    return has_token(Request(environ), "s3cret")


SAMPLE = json.dumps({"t": 1.7e9, "rss": 10**8, "process": "web-1", "types": {"a.B": 3}, "views": {"/": 1}}).encode()
JOURNAL = b'{"id":"1-000001","process":"web-1","requested_at":"2026-11-22T12:00:00Z"}\n'
FILE = json.dumps({"t": 4e9, "findings": [{"process": "web-1"}], "processes": [{"name": "b:web-1"}]}).encode()
QUESTIONS = (
    b'{"ask":"status"}',
    b'{"ask":"restart","process":"web-1","reason":"x","by":"y","policy":true,"planned":true}',
    b'{"ask":"restarts","after":"1-2"}',
    b'{"ask":"turn","for_s":10.0,"grant":"1-2"}',
    b"[" * 5000,
    b'{"ask":"turn","for_s":NaN}',
    b'{"ask":"turn","for_s":1' + b"0" * 400 + b"}",
)

TARGETS = (
    Target("control socket", _control, QUESTIONS),
    Target(
        "notify socket",
        _notice,
        (b"LEAKWATCH_WANT=x\nLEAKWATCH_PLANNED=1", b"LEAKWATCH_DRAIN={}", b"LEAKWATCH_LIMIT=5"),
    ),
    Target("probe socket", _probe, (b'{"ask":"gc","limit":20}\n', b"[" * 5000 + b"\n"), (wire.WireError, TimeoutError)),
    Target("heap dump", _dump, (b"LEAKWATCH HEAP\x01\0HEAD\2\0\0\0\0\0\0\0{}",), (DumpUnreadable, ValueError)),
    Target("sample", lambda data: Sample.from_json(json.loads(data)), (SAMPLE,), (ValueError, RecursionError)),
    Target(
        "file of samples", _text(lambda text: read(text.splitlines())), (SAMPLE + b"\n" + SAMPLE,), (UnreadableSamples,)
    ),
    Target("journal", _in_file("restarts.jsonl", finished_restarts), (JOURNAL * 2,)),
    Target("findings", _in_file("findings.json", read_findings), (FILE,)),
    Target("other hosts", _in_file("elsewhere.json", read_elsewhere), (FILE,)),
    Target("audit log", _in_file(audit.FILE, audit._looks), (b'{"t":1,"event":"look"}\n',)),
    Target("numbers of cgroup and proc", _cgroup, (b"max\n", b"123456\n", b"MemTotal: 12 kB\nMemAvailable: 3 kB\n")),
    Target("files of cgroup and proc", _room, (b"0::/a/b\n", b"5:memory:/x\n", b"MemTotal: 12 kB\n", b"4096\n")),
    Target("option: size", _text(parse_size), (b"400MiB", b"1.5GiB"), (ConfigurationError,)),
    Target("option: duration", _text(parse_duration), (b"30s", b"1.5h"), (ConfigurationError,)),
    Target("option: budget", _text(parse_budget), (b"6/h", b"1/10min"), (ConfigurationError,)),
    Target("option: window", _text(parse_window), (b"02:00-05:00",), (ConfigurationError,)),
    Target("option: keep", _text(parse_keep), (b"fine=7d,hourly=90d,daily=2y",), (ConfigurationError,)),
    Target("query string", _text(_span), (b"2026-11-22T12:00:00Z,1.8e9", b"24h,")),
    Target("authorization", _token, (b"Bearer s3cret",)),
    Target("name for munin", _text(field_name), (b"web-1",)),
)
ALWAYS_ALLOWED = LeakwatchError
