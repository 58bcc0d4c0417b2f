"""The cube's options as one value that was checked, for whoever acts on them: task, worker, launcher, pages.

Imports nothing of CubicWeb: ``config`` is anything that gives an option by its name.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Protocol

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.policy import Rules, parse_budget, parse_mode, parse_window
from cubicweb_leakwatch.watch.thinning import Keep, parse_keep
from cubicweb_leakwatch.watch.units import format_bytes, format_duration, parse_duration, parse_size

USABLE_SHARE = 0.8
"""Share of the memory that the processes of an instance may have together, when no limit was given."""


class Options(Protocol):
    """What ``read_settings`` reads: an instance's configuration, or a plain dict."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of INI file and environment. ``None`` is off or no bound; sizes in bytes, times in seconds.

    ``memory_limit`` is ``None`` when it is to be taken from the control group or the host.
    ``rules`` are the restart policy's.
    """

    interval_s: float | None
    memory_limit: int | None
    max_requests: int | None
    max_age_s: float | None
    drain_timeout_s: float
    rules: Rules
    keep: Keep | None
    types: int
    metrics_token: str | None
    notify: tuple[str, ...]
    show_contents: bool


def read_settings(config: Options) -> Settings:
    """Return the settings of an instance.

    Raises ``ConfigurationError``, naming the option, for a value that means nothing.
    """
    return Settings(
        interval_s=_duration(config, "leakwatch-interval"),
        memory_limit=_parsed(config, "leakwatch-memory-limit", parse_size) or None,
        max_requests=_count(config, "leakwatch-max-requests") or None,
        max_age_s=_duration(config, "leakwatch-max-age"),
        drain_timeout_s=_duration(config, "leakwatch-drain-timeout") or 0.0,
        rules=Rules(
            mode=_parsed(config, "leakwatch-restart", parse_mode) or "auto",
            budget=_parsed(config, "leakwatch-restart-budget", parse_budget),
            window=_parsed(config, "leakwatch-restart-window", parse_window),
            horizon_s=_duration(config, "leakwatch-horizon"),
        ),
        keep=_parsed(config, "leakwatch-keep", parse_keep),
        types=_count(config, "leakwatch-types"),
        metrics_token=_text(config, "leakwatch-metrics-token") or None,
        notify=_addresses(config, "leakwatch-notify"),
        show_contents=bool(config["leakwatch-show-contents"]),
    )


def options_in_force(config: Options) -> list[dict[str, str]]:
    """Return every option of the cube with its value, its default and its origin; a password is not told."""
    from cubicweb_leakwatch.site_cubicweb import options

    return [_in_force(config, name, declared) for name, declared in options]


def _in_force(config: Options, name: str, declared: Mapping[str, Any]) -> dict[str, str]:
    given = config[name], declared["default"]
    value, default = (
        (format_duration(_seconds(each)) if declared["type"] == "time" else _shown(each)) for each in given
    )
    if f"CW_{name.upper().replace('-', '_')}" in os.environ:
        origin = "environment"
    else:
        origin = "default" if value == default else "file"
    if name == "leakwatch-memory-limit" and value.isdecimal() and int(value):
        value = format_bytes(int(value))  # leak-serve hands it to its processes in bytes
    hidden = declared["type"] == "password" and value
    return {"name": name, "value": "…" if hidden else value, "default": default, "origin": origin}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _seconds(value: Any) -> float:
    return parse_duration(value) if isinstance(value, str) else float(value or 0.0)


def _text(config: Options, option: str) -> str:
    value = config[option]
    return "" if value is None else str(value).strip()


def _parsed(config: Options, option: str, parse: Any) -> Any:
    text = _text(config, option)
    if not text:
        return None
    try:
        return parse(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"option {option}: {error.message}", error.hint, "bad-option") from error


def _addresses(config: Options, option: str) -> tuple[str, ...]:
    found = tuple(_text(config, option).replace(",", " ").split())
    for address in found:
        if not address.partition("@")[0] or not address.partition("@")[2]:
            raise ConfigurationError(
                f"option {option}: {address!r} is no mail address", "write name@host, several with commas", "bad-option"
            )
    return found


def _duration(config: Options, option: str) -> float | None:
    return _parsed(config, option, parse_duration) or None


def _count(config: Options, option: str) -> int:
    text = _text(config, option) or "0"
    if not text.isdecimal():
        raise ConfigurationError(
            f"option {option}: {text!r} is not a count", "write a whole number, 0 for off", "bad-option"
        )
    return int(text)
