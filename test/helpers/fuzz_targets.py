"""Every parser of what comes from outside, with examples of what it takes and the errors that it may answer with."""

import atexit
import contextlib
import functools
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pyramid.request import Request

from cubicweb_leakwatch import audit, boot_memory, room
from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.heap.analyze import analyze
from cubicweb_leakwatch.heap.dumpfile import (
    GROUP,
    HAS_INLINE,
    HAS_ITEMS,
    HAS_LAYOUTS,
    DumpUnreadable,
    DumpWriter,
    decode,
    decode_lines,
    read_records,
)
from cubicweb_leakwatch.heap.graph import read_graph
from cubicweb_leakwatch.metrics.munin import field_name
from cubicweb_leakwatch.probe import answers, wire
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording import cost, kept_chart, waiting
from cubicweb_leakwatch.recording.conclusions import read_findings
from cubicweb_leakwatch.recording.elsewhere import read_elsewhere
from cubicweb_leakwatch.recording.restartlog import finished_restarts
from cubicweb_leakwatch.recording.tracks import tracks_of_samples
from cubicweb_leakwatch.routes import has_token
from cubicweb_leakwatch.serve import procfs
from cubicweb_leakwatch.serve.answers import Answers
from cubicweb_leakwatch.serve.controlsocket import ControlSocket
from cubicweb_leakwatch.serve.fleet import Fleet
from cubicweb_leakwatch.serve.journal import Journal
from cubicweb_leakwatch.serve.notices import Notices
from cubicweb_leakwatch.serve.sdnotify import parse
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, read_spec
from cubicweb_leakwatch.views.span import asked_span
from cubicweb_leakwatch.watch.policy import parse_budget, parse_window
from cubicweb_leakwatch.watch.reading import UnreadableSamples, read
from cubicweb_leakwatch.watch.thinning import parse_keep
from cubicweb_leakwatch.watch.units import parse_duration, parse_size

SHM = Path("/dev/shm")
FOLDER = Path(tempfile.mkdtemp(prefix="leakwatch-fuzz-", dir=SHM if SHM.is_dir() else None))
"""In memory: what is fed to a parser by a file must not wait for a disk."""

atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


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


class NotHere(Exception):
    """The question is understood; now a copy of the process would be made."""


def _not_here(*_told: object, **_named: object) -> None:
    raise NotHere


@contextlib.contextmanager
def _instead(module: ModuleType, **others: object) -> Iterator[None]:
    """Put others in place of a module's functions for a block; unittest.mock takes a hundred times as long."""
    own = {name: getattr(module, name) for name in others}
    vars(module).update(others)
    try:
        yield
    finally:
        vars(module).update(own)


_ANSWERS = answers.Answers(ProcessState("web-1", "web"), "site", FOLDER)


def _answered(data: bytes) -> object:
    """A question that the probe has read; neither heap nor file is touched for it."""
    question = json.loads(data)
    if not isinstance(question, dict) or question.get("ask") not in ("status", "ring", "gc", "dump", "nothing"):
        return None
    with contextlib.suppress(NotHere), _instead(answers, take_counts=_not_here, take_dump=_not_here):
        return _ANSWERS.answer(question)
    return None


DONE = struct.pack("<4sQ", b"DONE", 4)


KEPT_OBJECTS, KEPT_GROUPS, KEPT_ROWS = 3, 40, 20


@functools.cache
def small_dump() -> bytes:
    """Return the dump of a bare interpreter, without the record that ends it: a few objects of each type alone.

    It is made of what is in any other, and read in a millisecond.
    """
    path = FOLDER / "seed.dump"
    script = "import sys; sys.path.insert(0, sys.argv[1]); from cubicweb_leakwatch.heap.dump import take_dump; "
    take = "take_dump(sys.argv[2], header={})"
    here = str(Path(room.__file__).parents[1])
    subprocess.run([sys.executable, "-I", "-S", "-c", script + take, here, str(path)], check=True, timeout=60)
    records = list(read_records(memoryview(path.read_bytes()), "seed"))
    groups = [_shortened(payload) for tag, payload in records if tag == b"GRUP"][:KEPT_GROUPS]
    types = {GROUP.unpack_from(group)[0] for group in groups}
    writer = DumpWriter(str(path))
    for group in groups:
        writer.record(b"GRUP", group)
    for tag, payload in records:
        if tag == b"TYPE":
            writer.json_lines(tag, [row for row in decode_lines(payload) if row[0] in types])
        elif tag in (b"CODE", b"FRAM"):
            writer.json_lines(tag, list(decode_lines(payload))[:KEPT_ROWS])
        elif tag == b"TEXT":
            writer.json(tag, dict(itertools.islice(decode(payload).items(), KEPT_ROWS)))
        elif tag != b"GRUP":
            writer.record(tag, payload)
    writer.finish()
    return path.read_bytes()[: -len(DONE) - 4]


def _shortened(payload: memoryview) -> bytes:
    """Return a group of a dump with its first objects alone."""
    type_address, kind, count, _references, present = GROUP.unpack_from(payload)
    kept, parts, at = min(count, KEPT_OBJECTS), [], GROUP.size
    for width in (8, 8, 8, 4, *(4 for flag in (HAS_ITEMS, HAS_LAYOUTS, HAS_INLINE) if present & flag)):
        parts.append(bytes(payload[at : at + kept * width]))
        at += count * width
    edges = sum(struct.unpack(f"<{kept}I", parts[3]))
    targets = bytes(payload[at : at + 8 * edges])
    return GROUP.pack(type_address, kind, kept, edges, present) + b"".join(parts) + targets


def _damaged(data: bytes) -> str:
    """Write a dump with something put in its middle, whose checksum is right all the same; with nothing it is whole."""
    seed = small_dump()
    at = zlib.crc32(data) % len(seed)
    body = seed[:at] + data + seed[at + len(data) * (zlib.adler32(data) % 3) :] + DONE
    path = FOLDER / "fuzz.dump"
    path.write_bytes(body + struct.pack("<I", zlib.crc32(body)))
    return str(path)


def _whole_dump(data: bytes) -> object:
    return read_graph(_damaged(data)).count


def _analysed(data: bytes) -> object:
    return analyze(_damaged(data))["objects"]


def _procfs(data: bytes) -> object:
    """What the launcher reads of a process, of the host, of its control group."""
    text = data.decode("utf-8", "replace")
    with _instead(procfs, _read=lambda _path: text):
        found = procfs.memory_of(1), procfs.descriptors_of(os.getpid()), procfs.nice_limit(), procfs._host_available()
        return *found, procfs.effective_capabilities(), procfs._room_in("/")


def _boot(data: bytes) -> object:
    (FOLDER / "boot-web.json").write_bytes(data)
    return boot_memory.load(FOLDER / "boot-web.json", {})


def _spec(data: bytes) -> object:
    return read_spec(json.loads(data))


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


@functools.cache
def _room_file(name: str) -> Path:
    path = FOLDER / "root" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _room(data: bytes) -> object:
    for name in ("proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"):
        _room_file(name).write_bytes(data)
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
CHART = kept_chart._dumped(
    kept_chart.Kept(1, (9, 1.5), {7: tracks_of_samples([{"process": "web-1", "t": 1.5, "rss": 10**8, "note": "x"}])[0]})
).encode()
BOOT = json.dumps(
    {"format": 1, "about": {}, "answers": [["SELECT 1", None, [["a", 23]], [[{"datetime": "2026-11-22T12:00:00"}]]]]}
).encode()
IDENTITY = {"host": "a", "pid": 7, "started_at": 1.7e9, "name": "web-1", "role": "web"}
WAITING = json.dumps(
    [{"identity": IDENTITY, "samples": [{"t": 1.7e9, "rss": 5}], "state": "serving", "limit": None, "note": None}]
).encode()
SPEC = json.dumps(
    {"instance": "site", "runtime_dir": "/x", "bind": ["127.0.0.1:0"], "web": {"command": ["true"]}, "workers": 2,
     "limits": {"memory_bytes": 5}, "policy": {"mode": "auto", "budget_count": 6}}
).encode()  # fmt: skip
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
    Target(
        "probe's questions",
        _answered,
        (
            b'{"ask":"ring","since":1.5}',
            b'{"ask":"gc","limit":20,"collect":false}',
            b'{"ask":"dump","time_limit_s":5}',
            b'{"ask":"ring","since":1' + b"0" * 400 + b"}",
        ),
        (LeakwatchError, ValueError, RecursionError),
    ),
    Target("probe socket", _probe, (b'{"ask":"gc","limit":20}\n', b"[" * 5000 + b"\n"), (wire.WireError, TimeoutError)),
    Target("heap dump", _dump, (b"LEAKWATCH HEAP\x01\0HEAD\2\0\0\0\0\0\0\0{}",), (DumpUnreadable, ValueError)),
    Target("whole heap dump", _whole_dump, (b"",), (DumpUnreadable,)),
    Target("analysis of a dump", _analysed, (b"",), (DumpUnreadable,)),
    Target("what a boot read", _boot, (BOOT,)),
    Target("what waits", _in_file(waiting.FILE, waiting.read), (WAITING,)),
    Target("launch specification", _spec, (SPEC,), (LeakwatchError, ValueError, RecursionError)),
    Target("launcher's journal", _in_file("restarts.jsonl", lambda folder: Journal(str(folder))), (JOURNAL * 2,)),
    Target("sample", lambda data: Sample.from_json(json.loads(data)), (SAMPLE,), (ValueError, RecursionError)),
    Target(
        "file of samples", _text(lambda text: read(text.splitlines())), (SAMPLE + b"\n" + SAMPLE,), (UnreadableSamples,)
    ),
    Target("journal", _in_file("restarts.jsonl", finished_restarts), (JOURNAL * 2,)),
    Target("findings", _in_file("findings.json", read_findings), (FILE,)),
    Target("other hosts", _in_file("elsewhere.json", read_elsewhere), (FILE,)),
    Target("chart", _in_file("chart-7200.json", lambda folder: kept_chart._load(folder / "chart-7200.json")), (CHART,)),
    Target(
        "cost of a round",
        _in_file(cost.FILE, cost.read),
        (b'{"round_cpu_ms":1.5,"round_elapsed_ms":2}', b'{"round_cpu_ms":1%s,"round_elapsed_ms":2}' % (b"0" * 400)),
    ),
    Target(
        "audit log",
        _in_file(audit.FILE, audit._looks),
        (b'{"t":1,"event":"look"}\n', b'{"t":1%s,"event":"look"}\n' % (b"0" * 400), b"[" * 5000),
    ),
    Target("numbers of cgroup and proc", _cgroup, (b"max\n", b"123456\n", b"MemTotal: 12 kB\nMemAvailable: 3 kB\n")),
    Target(
        "launcher's proc and cgroup",
        _procfs,
        (
            b"100 50 25 1 0 9 0\n",
            b"Max open files            1024                 4096                 files\n",
            b"CapEff:\t000001ffffffffff\nMax nice priority         0                    0\n",
            b"MemTotal: 12 kB\nMemAvailable: 3 kB\n",
            b"inactive_file 4096\n",
        ),
    ),
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
