"""The probe of this process: started where a process serves or loops, never in a command that merely loads an instance.

Whatever fails here is logged and goes no further: a site must run as well with a broken watcher as without one.
"""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.runtime import runtime_dir
from cubicweb_leakwatch.settings import Options, Settings, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from cubicweb_leakwatch.probe.process import ProcessState
    from cubicweb_leakwatch.probe.server import Probe

logger = logging.getLogger("leakwatch.probing")

_RUNNING: "dict[int, Probe | None]" = {}
"""The probe by pid, of one process: a fork inherits its parent's entry and finds that it has none of its own."""

_BEFORE_STOP: list[Callable[[], None]] = []


class InstanceConfig(Options, Protocol):
    """What is asked of an instance's configuration."""

    appid: str
    mode: str
    appdatahome: str


def start(config: InstanceConfig, role: str) -> "Probe | None":
    """Start the probe of this process, or return the one that runs; ``None`` where there cannot be one.

    ``role`` is ``web`` or ``scheduler``. A process under test is not watched: its data directory is its sources.
    """
    pid = os.getpid()
    if pid not in _RUNNING:
        _RUNNING.clear()
        _RUNNING[pid] = None if config.mode == "test" else _logged(lambda: _start(config, role))
    return _RUNNING[pid]


def running() -> "Probe | None":
    """Return the probe of this process, if it runs."""
    return _RUNNING.get(os.getpid())


def before_stop(act: Callable[[], None]) -> None:
    """Have ``act`` called when this process shuts down, before its probe stops."""
    _BEFORE_STOP.append(act)


def stop() -> None:
    """Stop the probe of this process, if it runs."""
    while _BEFORE_STOP:
        _logged(_BEFORE_STOP.pop())
    probe = _RUNNING.pop(os.getpid(), None)
    if probe is not None:
        probe.stop()


def _start(config: InstanceConfig, role: str) -> "Probe":
    # here alone: a command that loads the instance, and watches nothing, does not carry the heap's tools
    from cubicweb_leakwatch.probe.server import start_probe

    settings = read_settings(config)
    directory = runtime_dir(config.appdatahome)
    state = this_process()
    state.role = role
    if state.limit is None and role == "web":
        state.limit = settings.memory_limit
    probe = start_probe(directory, config.appid, state, contents=settings.show_contents)
    if role == "web" and "LEAKWATCH_PROCESS" not in os.environ:
        _logged(lambda: _guard(probe, state, directory, settings))
    return probe


def _guard(probe: "Probe", state: "ProcessState", directory: "Path", settings: Settings) -> None:
    """Under gunicorn or uWSGI the process watches its own limits, as it does under our launcher."""
    from cubicweb_leakwatch.serve.guard import GuardLimits
    from cubicweb_leakwatch.serve.guest import guard_here
    from cubicweb_leakwatch.serve.run import policy_of

    limits = GuardLimits(settings.memory_limit or 0, settings.max_requests or 0, settings.max_age_s or 0.0)
    guard_here(probe, state, directory, limits, policy_of(settings.rules))


def _logged(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except LeakwatchError as error:
        logger.error("not watched: %s%s", error.message, f" ({error.hint})" if error.hint else "")
    except Exception:
        logger.exception("not watched")
    return None


def settings_or_none(config: Options) -> Settings | None:
    """Return the settings of an instance, or log which option means nothing and return ``None``."""
    found: Settings | None = _logged(lambda: read_settings(config))
    return found
