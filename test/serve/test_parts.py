"""The launcher's small parts: specification, sockets, journal, notices, figures from the system, titles."""

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile

import pytest

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.serve import procfs, sdnotify
from cubicweb_leakwatch.serve.books import Abandoned, Books
from cubicweb_leakwatch.serve.journal import REMEMBERED, Journal
from cubicweb_leakwatch.serve.manager import Manager
from cubicweb_leakwatch.serve.minder import Minder
from cubicweb_leakwatch.serve.preflight import check_start
from cubicweb_leakwatch.serve.records import Worker
from cubicweb_leakwatch.serve.runtime import Runtime
from cubicweb_leakwatch.serve.sdnotify import NotifyReceiver, notify, parse
from cubicweb_leakwatch.serve.signals import signal_name
from cubicweb_leakwatch.serve.sockets import describe, open_listeners, parse_address
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, Limits, Timing, check_spec, read_spec
from cubicweb_leakwatch.serve.wsgi import default_runtime_dir

MIB = 1024 * 1024


def a_spec(**fields):
    """Return a specification that works."""
    return LaunchSpec(
        **{"instance": "i", "runtime_dir": "/r", "bind": ("127.0.0.1:1",), "web": Child(command=("w",)), **fields}
    )


def test_a_specification_survives_its_journey_as_json():
    """What the command line says is what the launcher reads."""
    spec = a_spec(scheduler=Child(command=("s", "-x")), limits=Limits(memory_bytes=5), environment={"A": "b"})
    assert read_spec(json.loads(json.dumps(spec.fields()))) == spec


@pytest.mark.parametrize(
    "fields",
    [{"workers": 0}, {"threads": 0}, {"web": Child(command=())}, {"timing": Timing(drain_timeout_s=0)},
     {"web": Child(command=("w",), fcgi=True), "bind": ("a:1", "b:2")}],
)  # fmt: skip
def test_a_specification_that_cannot_work_is_refused(fields):
    """Before any process is started."""
    with pytest.raises(ConfigurationError):
        check_spec(a_spec(**fields))


WHOLE = {"instance": "i", "runtime_dir": "/r", "bind": [], "web": {"command": ["w"]}}


@pytest.mark.parametrize(
    "given", [{}, {"instance": "i", "nonsense": 1}, {"limits": {"unknown": 1}}, {**WHOLE, "workers": {}}]
)
def test_a_specification_that_makes_no_sense_is_refused(given):
    """One sentence, no traceback."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_spec(given)


def test_a_specification_cannot_be_changed():
    """It is a value."""
    with pytest.raises(AttributeError):
        a_spec().workers = 7


@pytest.mark.parametrize(
    "text, address",
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("*:80", ("0.0.0.0", 80)), ("[::1]:80", ("::1", 80)), ("unix:/a", "/a")],
)
def test_addresses_are_read_as_operators_write_them(text, address):
    """HOST:PORT, *:PORT, [IPV6]:PORT, unix:PATH."""
    assert parse_address(text)[1] == address


@pytest.mark.parametrize("text", ["", "80", "host", "host:port", "host:70000"])
def test_a_bad_address_is_refused(text):
    """With how to write it."""
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        parse_address(text)


def test_all_addresses_or_none():
    """The second address is in use: the first is let go of again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(LeakwatchError, match="in use"):
            open_listeners((f"127.0.0.1:{port}", f"127.0.0.1:{taken.getsockname()[1]}"))
    socket.create_server(("127.0.0.1", port)).close()


def test_no_socket_is_shared_by_reuseport():
    """With SO_REUSEPORT each worker has a queue of its own, and what waits in it dies with the worker."""
    (listener,) = open_listeners(("127.0.0.1:0",))
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    assert describe(listener).startswith("127.0.0.1:")
    listener.close()


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    """The file of a server that died is taken over; one that answers is in use; a plain file is left alone."""
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    (listener,) = open_listeners((f"unix:{path}",), socket_mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(LeakwatchError, match="in use"):
        open_listeners((f"unix:{path}",))
    listener.close()
    plain = tmp_path / "plain"
    plain.write_text("precious")
    with pytest.raises(LeakwatchError, match="no socket"):
        open_listeners((f"unix:{plain}",))
    assert plain.read_text() == "precious"


def test_the_journal_remembers_over_a_restart_and_half_a_line(tmp_path):
    """A power cut leaves half a line: it is passed over."""
    journal = Journal(str(tmp_path))
    for number in range(3):
        journal.add({"id": f"1-00000{number}", "process": "web-1"})
    with (tmp_path / "restarts.jsonl").open("a") as lines:
        lines.write('{"id":"1-000003","pro')
    again = Journal(str(tmp_path))
    assert len(again.after("")) == 3
    assert again.after("1-000001") == ['{"id":"1-000002","process":"web-1"}']


def test_the_journal_is_bounded(tmp_path):
    """On disk and in memory, whatever the number of restarts."""
    journal = Journal(str(tmp_path))
    for number in range(3000):
        journal.add({"id": f"1-{number:06d}", "filling": "x" * 400})
    assert (tmp_path / "restarts.jsonl").stat().st_size < MIB
    assert len(journal.after("")) == REMEMBERED


def test_a_notice_carries_who_sent_it():
    """The kernel says which process: nobody can claim another's readiness."""
    receiver = NotifyReceiver()
    assert notify(receiver.address, READY=1, STATUS="a=b")
    assert receiver.receive() == (os.getpid(), {"READY": "1", "STATUS": "a=b"})
    assert receiver.receive() is None
    code = "import sys; from cubicweb_leakwatch.serve.sdnotify import notify; notify(sys.argv[1], READY=1)"
    sender = subprocess.Popen([sys.executable, "-c", code, receiver.address])
    sender.wait(20)
    assert receiver.receive() == (sender.pid, {"READY": "1"})
    receiver.close()


def test_descriptors_sent_along_with_a_notice_are_closed():
    """They would pile up in the launcher."""
    receiver = NotifyReceiver()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, open(os.devnull) as sent:  # noqa: PTH123
        sender.connect("\0" + receiver.address[1:])
        socket.send_fds(sender, [b"READY=1"], [sent.fileno()])
        receiver.receive()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    receiver.close()


def test_a_notice_cannot_say_more_than_its_names():
    """What an operator gave as a reason may hold a line break or half a character: it stays one line, and is sent."""
    receiver = NotifyReceiver()
    assert notify(receiver.address, STATUS="broken\nMAINPID=1\ud800")
    assert receiver.receive() == (os.getpid(), {"STATUS": "broken MAINPID=1?"})
    receiver.close()


def test_a_process_without_descriptors_notifies_nobody_and_goes_on(monkeypatch):
    """What is told matters less than what is served."""

    def refuse(*_arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(sdnotify.socket, "socket", refuse)
    assert notify("@anybody", READY=1) is False


def test_a_directory_that_somebody_else_prepared_is_not_taken(tmp_path, monkeypatch):
    """Below the temporary directory anybody can make one of our name; a link there leads where its maker likes."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert default_runtime_dir("site") == default_runtime_dir("site")
    base = tmp_path / f"leakwatch-{os.getuid()}"
    base.rmdir()
    base.symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="not a directory of this user alone"):
        default_runtime_dir("site")


def test_nobody_to_notify_is_no_error():
    """Without a service manager every word falls silent."""
    assert notify(None, READY=1) is False
    assert notify("/nowhere/socket", READY=1) is False
    assert parse(b"nonsense\nA=1\n\xff=2") == {"A": "1", "\ufffd": "2"}


def test_the_watchdog_of_another_process_is_not_fed():
    """WATCHDOG_PID names who must; the variables are kept from the children."""
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    manager = Manager(environment)
    assert environment == {}
    assert manager.tick(0.0) is None
    fed = Manager({"WATCHDOG_USEC": "1000000"})
    assert fed.tick(10.0) == 10.5
    assert fed.tick(10.2) == 10.5


def test_a_minded_child_is_told_on_after_three_samples():
    """The launcher looks once a second; a spike does not count."""
    asked, used = [], {7: 200 * MIB}
    minder = Minder(
        Limits(memory_bytes=100 * MIB), lambda pid, reason: asked.append(pid), measure=lambda pid: (0, used[pid])
    )
    worker = Worker("web-1", "web", 1, 7, 0.0)
    for second in range(2):
        minder.look([worker], float(second + 10))
        minder.look([worker], second + 10.5)
    used[7] = 50 * MIB
    minder.look([worker], 12.0)
    used[7] = 200 * MIB
    for second in (13.0, 14.0):
        minder.look([worker], second)
    assert asked == []
    minder.look([worker], 15.0)
    assert asked == [7]


def test_memory_figures_come_from_the_kernel():
    """Private memory is below resident memory, and a process that has gone has none."""
    resident, private = procfs.memory_of(os.getpid())
    assert 0 < private < resident
    assert procfs.memory_of(2**22 + 1) is None
    assert procfs.rss_of(None) is None
    assert procfs.available_bytes() > 0


def test_a_tight_cgroup_counts_before_the_host(tmp_path, monkeypatch):
    """Half a GiB left in the group above ours: that is all there is."""
    group = tmp_path / "site"
    group.mkdir()
    (group / "memory.max").write_text(f"{1024 * MIB}\n")
    (group / "memory.current").write_text(f"{612 * MIB}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {100 * MIB}\n")
    monkeypatch.setattr(procfs, "CGROUP_ROOT", str(tmp_path))
    assert procfs._room_in(str(group)) == 512 * MIB


def test_the_runtime_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    """Sockets in a stranger's directory could be replaced under our feet."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        Runtime(str(tmp_path), "i")


def test_a_start_that_cannot_work_is_refused_beforehand(tmp_path):
    """Another launcher, or an address in use; what was tried is given back."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = a_spec(runtime_dir=str(tmp_path), bind=(f"127.0.0.1:{taken.getsockname()[1]}",))
        with pytest.raises(LeakwatchError, match="in use"):
            check_start(spec)
    path = tmp_path / "site.sock"
    spec = a_spec(runtime_dir=str(tmp_path), bind=(f"unix:{path}",))
    check_start(spec)
    assert not path.exists()
    running = Runtime(str(tmp_path), "i")
    assert not running.unclean
    with pytest.raises(LeakwatchError, match="another launcher"):
        check_start(spec)


def test_a_look_before_the_start_leaves_the_trace_of_a_crash(tmp_path):
    """The launcher waits for the orphans of the one before it, as if nobody had looked."""
    (tmp_path / "launcher.lock").write_text("12345\n")
    check_start(a_spec(runtime_dir=str(tmp_path), bind=("127.0.0.1:0",)))
    assert Runtime(str(tmp_path), "i").unclean


def test_a_flood_of_abandoned_requests_is_counted_and_not_listed():
    """The sums stay right; the list stays short."""
    books = Books()
    for number in range(100):
        account = books.open_account()
        account.began = 1
        books.abandon(account, [Abandoned(f"/{number}", 1.0, "queued")])
    balance = books.balance()
    assert (balance.accepted, balance.abandoned, balance.in_flight) == (100, 100, 0)
    assert len(books.named) == 20


def test_an_answer_counts_when_its_last_byte_is_sent():
    """Handed to the buffer is not answered."""
    account = Books().open_account()
    account.began = 2
    account.response_ends_at(10)
    account.has_sent(9)
    assert (account.answered, account.outstanding) == (0, 2)
    account.has_sent(1)
    assert (account.answered, account.outstanding) == (1, 1)


def test_a_title_is_cut_to_its_room():
    """The title never runs over into the environment, and the process lives on."""
    code = (
        "from cubicweb_leakwatch.serve.title import set_title; set_title('t' * 5000); print(open('/proc/self/cmdline')"
    )
    code += ".read().strip(chr(0))); import os; print(os.environ['KEPT'])"
    env = {**os.environ, "KEPT": "yes"}
    shown, kept = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    ).stdout.split()
    assert set(shown) == {"t"}
    assert kept == "yes"


def test_a_signal_is_called_what_the_standard_library_calls_it():
    """The launcher reads the names from the C module, and knows no fewer."""
    for number in range(70):
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        assert signal_name(number) == name
