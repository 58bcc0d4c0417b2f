"""From an instance's options and the words of ``leak-serve`` to what the launcher is told: plain values, no process."""

import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from cubicweb_leakwatch.commands.instance import Instance
from cubicweb_leakwatch.room import Room
from cubicweb_leakwatch.serve.run import policy_of
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, Limits, Timing
from cubicweb_leakwatch.settings import USABLE_SHARE, Settings
from cubicweb_leakwatch.watch.units import format_bytes

SMALLEST_LIMIT = 128 * 1024**2
"""Bytes; a worker of CubicWeb that has just started takes about 80 MiB."""

OVERRIDES = {
    "memory_limit": "leakwatch-memory-limit",
    "max_requests": "leakwatch-max-requests",
    "max_age": "leakwatch-max-age",
    "drain_timeout": "leakwatch-drain-timeout",
}
"""The options of the command that stand for an option of the instance."""


@dataclass(frozen=True)
class Loaded:
    """What the instance's configuration says: its settings, and where it listens (``HOST:PORT``)."""

    settings: Settings
    bind: str


def environment(asked: Namespace) -> dict[str, str]:
    """Return the instance's options that the command line overrides, as every process of the instance reads them."""
    given = {option: getattr(asked, name) for name, option in OVERRIDES.items() if getattr(asked, name) is not None}
    return {f"CW_{option.upper().replace('-', '_')}": _as_option(option, value) for option, value in given.items()}


def _as_option(option: str, value: float) -> str:
    is_time = option in ("leakwatch-max-age", "leakwatch-drain-timeout")
    return f"{value:g}s" if is_time else str(value)


def load(instance: Instance) -> Loaded:
    """Read the instance's configuration, without its cubes and its database.

    Raises ``ConfigurationError`` when an option means nothing.
    """
    from cubicweb.cwconfig import CubicWebConfiguration

    from cubicweb_leakwatch.settings import read_settings

    config: Any = CubicWebConfiguration.config_for(instance.name)
    config.load_site_cubicweb(["leakwatch"])
    config.load_file_configuration(config.main_config_file())
    host = config["interface"] or "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    return Loaded(read_settings(config), f"{host}:{config['port'] or 8080}")


def memory_limit(settings: Settings, workers: int, scheduler: bool, room: Room) -> int:
    """Return the limit of each web worker in bytes: the one that was set, or a fair share of what there is.

    While a worker is replaced there is one more of them, and the scheduler takes its share too. 0 means that
    neither the host nor the control group says how much there is.
    """
    if settings.memory_limit:
        return settings.memory_limit
    if room.total is None:
        return 0
    return max(SMALLEST_LIMIT, int(room.total * USABLE_SHARE) // (workers + 1 + int(scheduler)))


def plan(instance: Instance, loaded: Loaded, asked: Namespace, room: Room) -> LaunchSpec:
    """Return the launcher's specification."""
    settings = loaded.settings
    limit = memory_limit(settings, asked.workers, asked.scheduler, room)
    python = (sys.executable, "-P", "-m")  # -P: whatever lies in the current directory must not stand in for a module
    passed_on = {**environment(asked), "CW_LEAKWATCH_MEMORY_LIMIT": str(limit)}
    return LaunchSpec(
        instance=instance.name,
        runtime_dir=str(instance.runtime_dir),
        bind=tuple(asked.bind or (loaded.bind,)),
        web=Child(command=(*python, "cubicweb_leakwatch.worker", instance.name)),
        scheduler=Child(command=(*python, "cubicweb_leakwatch.scheduler", instance.name)) if asked.scheduler else None,
        workers=asked.workers,
        threads=asked.threads,
        environment={**_virtual_environment(), **_links(asked.bind), **passed_on},
        limits=Limits(memory_bytes=limit, max_requests=settings.max_requests or 0, max_age_s=settings.max_age_s or 0.0),
        timing=Timing(drain_timeout_s=settings.drain_timeout_s),
        policy=policy_of(settings.rules),
    )


def _links(bind: tuple[str, ...] | None) -> dict[str, str]:
    """Where ``base-url`` is not set, links are made from the port; one that was named here must stand in them."""
    host, colon, port = bind[0].rpartition(":") if bind and len(bind) == 1 else ("", "", "")
    if not colon or host == "unix" or not port.isdecimal() or port == "0":
        return {}
    return {"CW_PORT": port}


def _virtual_environment() -> dict[str, str]:
    """CubicWeb looks for instances elsewhere when it does not know of its virtual environment or its mode."""
    return {name: os.environ[name] for name in ("VIRTUAL_ENV", "CW_MODE") if name in os.environ}


def told_limit(settings: Settings, spec: LaunchSpec) -> str:
    """Return the memory limit as it is told at the start."""
    limit = spec.limits.memory_bytes
    if not limit:
        return "none: neither the host nor the control group says how much memory there is"
    origin = "as set" if settings.memory_limit else "a share of the memory there is"
    return f"{format_bytes(limit)} a worker, {origin}"
