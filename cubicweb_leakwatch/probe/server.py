"""The probe: a daemon thread that answers over a Unix socket only the instance's user can open."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cubicweb_leakwatch import audit
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe import wire
from cubicweb_leakwatch.probe.answers import Answers
from cubicweb_leakwatch.probe.process import ProcessState
from cubicweb_leakwatch.probe.runtime import free_name, names_locked, reachable, socket_path

logger = logging.getLogger("leakwatch.probe")

SAMPLE_EVERY_S = 10.0
QUESTION_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
MAX_ASKERS = 8
"""Questions answered at once; heap walks among them take turns, in the forked copy's own lock."""


class Probe:
    """The probe of the running process; made and started by :func:`start_probe`."""

    def __init__(self, answers: Answers, listener: socket.socket, path: Path) -> None:
        self.answers = answers
        self.path = path
        self.every_second: list[Callable[[], None]] = []
        self._listener = listener
        self._stopped = threading.Event()
        self._askers = threading.BoundedSemaphore(MAX_ASKERS)
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="leakwatch-probe", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and remove the socket; a second call does nothing."""
        self._stopped.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _run(self) -> None:
        next_sample = next_second = time.monotonic()
        while not self._stopped.is_set():
            self._accept(max(0.0, next_second - time.monotonic()))
            now = time.monotonic()
            if now < next_second:
                continue
            next_second = now + 1.0
            tasks = [*self.every_second, self.answers.tracing.tick]
            if now >= next_sample:
                next_sample = now + SAMPLE_EVERY_S
                tasks.append(self.answers.remember_sample)
            for task in tasks:
                self._run_task(task)
            self.answers.spent_s["seconds"] = time.thread_time()

    def _run_task(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception:  # the probe goes on: a meter that fails must not take the others with it
            logger.exception("probe task failed task=%s", getattr(task, "__qualname__", task))

    def _accept(self, timeout_s: float) -> None:
        self._listener.settimeout(max(0.01, timeout_s))
        try:
            connection, _address = self._listener.accept()
        except TimeoutError:
            return
        except OSError as error:
            if not self._stopped.wait(1.0):  # out of descriptors, say: try again, without a spin
                logger.warning("probe cannot accept error=%s", error)
            return
        if not self._askers.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(target=self._serve, args=(connection,), name="leakwatch-answer", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                if not wire.peer_allowed(connection):
                    logger.warning("probe refused a stranger uid=%s", wire.peer_uid(connection))
                    return
                connection.settimeout(ANSWER_TIMEOUT_S)
                wire.send(connection, self._answer(connection))
        except OSError as error:
            logger.info("asker went away error=%s", error)
        finally:
            with self._counting:
                self.answers.spent_s["answers"] += time.thread_time()  # this thread has done nothing else
            self._askers.release()

    def _answer(self, connection: socket.socket) -> dict[str, object]:
        try:
            question = wire.receive(connection, wire.MAX_QUESTION, QUESTION_TIMEOUT_S)
            connection.settimeout(ANSWER_TIMEOUT_S)
            if question.get("ask") == "dump":
                self._note_dump(connection, question)
            return {"ok": True, "data": self.answers.answer(question)}
        except LeakwatchError as error:
            return {"ok": False, "error": error.as_json()}
        except (wire.WireError, TimeoutError) as error:
            return _refusal("bad-question", f"no question could be read: {error}")
        except OSError as error:
            return _refusal("system", f"the system refused: {error}")
        except Exception as error:  # told to the asker, logged here: the process must go on serving
            logger.exception("probe failed to answer")
            return _refusal("internal", f"the probe failed: {type(error).__name__}")

    def _note_dump(self, connection: socket.socket, question: dict[str, object]) -> None:
        """A dump holds the whole heap's shape, with contents its secrets: who had it made is written down."""
        answers = self.answers
        contents = answers.contents and question.get("contents") is True
        uid = wire.peer_uid(connection)
        audit.note(
            answers.directory, "dump", process=answers.state.name, pid=answers.state.pid, uid=uid, contents=contents
        )


def _refusal(code: str, message: str) -> dict[str, object]:
    return {"ok": False, "error": {"code": code, "message": message, "hint": ""}}


def start_probe(directory: Path, instance: str, state: ProcessState, *, contents: bool = False) -> Probe:
    """Start the probe of this process in the runtime directory of its instance and return it.

    A process without a name gets the lowest free slot of its role. With ``contents`` dumps may hold values.
    Raises ``OSError`` when the socket cannot be made.
    """
    with names_locked(directory):
        if not state.name:
            state.name = free_name(directory, state.role)
        path = socket_path(directory, state.name, state.pid)
        listener = _listen(path)
    probe = Probe(Answers(state, instance, directory, contents=contents), listener, path)
    probe.start()
    return probe


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(path) as short:
            listener.bind(short)
        path.chmod(0o600)  # the directory is 0700 already; umask would change under the process's other threads
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener
