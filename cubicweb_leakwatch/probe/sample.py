"""A sample: the cheap numbers of one process at one moment, in the shape of the public contract."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_INTEGERS = (
    "pid", "rss", "uss", "pss", "python_blocks", "malloc_used", "malloc_free", "gc_objects",
    "garbage", "requests", "in_flight", "fds", "threads", "cgroup_limit",
)  # fmt: skip
_PERCENT = ("cgroup_pressure",)
_COUNTS = ("types", "views")
_TASK = ("runs", "blocks", "malloc")


@dataclass(frozen=True)
class Sample:
    """Numbers of one process: bytes unless the name says otherwise, ``t`` in Unix seconds, ``None`` for unknown.

    ``python_blocks`` is the count of ``sys.getallocatedblocks``; ``malloc_used`` and ``malloc_free`` are glibc's
    ``mallinfo2``; ``requests`` counts since the process started; ``types`` and ``views`` map a name to a count.
    ``cgroup_pressure`` is the share of the last minute, in percent, in which its control group waited for memory.
    ``tasks`` maps each looping task to ``runs``, and to what these left behind in all: ``blocks`` of Python, and bytes
    of ``malloc``.
    """

    t: float
    rss: int
    process: str = ""
    pid: int | None = None
    uss: int | None = None
    pss: int | None = None
    python_blocks: int | None = None
    malloc_used: int | None = None
    malloc_free: int | None = None
    gc_objects: int | None = None
    garbage: int | None = None
    requests: int | None = None
    in_flight: int | None = None
    fds: int | None = None
    threads: int | None = None
    cgroup_limit: int | None = None
    cgroup_pressure: float | None = None
    types: Mapping[str, int] | None = None
    views: Mapping[str, int] | None = None
    tasks: Mapping[str, Mapping[str, int]] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the known numbers; what is unknown is left out."""
        values = {name.name: getattr(self, name.name) for name in fields(self)}
        return {key: dict(v) if key in _COUNTS else v for key, v in values.items() if v is not None}

    @classmethod
    def from_json(cls, data: object) -> "Sample":
        """Read one sample; keys that are not known are ignored.

        Raises ``ValueError`` with the sentence for the operator when the data is no sample.
        """
        if not isinstance(data, dict):
            raise ValueError(f"a sample is a JSON object, not {type(data).__name__}")
        for key in ("t", "rss"):
            if data.get(key) is None:
                raise ValueError(f"a sample needs '{key}'")
        values: dict[str, Any] = {"t": _number("t", data["t"]), "process": _name(data.get("process"))}
        for key in _INTEGERS:
            if data.get(key) is not None:
                values[key] = round(_number(key, data[key]))
        for key in _PERCENT:
            if data.get(key) is not None:
                values[key] = round(_number(key, data[key]), 2)
        for key in _COUNTS:
            if data.get(key) is not None:
                values[key] = _counts(key, data[key])
        if data.get("tasks") is not None:
            values["tasks"] = tasks_from_json(data["tasks"])
        return cls(**values)


def _name(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"'process' is a name, not {value!r}")
    return value


def _number(key: str, value: object) -> float:
    number = _finite(key, value)
    if number < 0:
        raise ValueError(f"'{key}' is negative: {value}")
    return number


def _finite(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"'{key}' is a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"'{key}' is too large") from None
    if not math.isfinite(number):
        raise ValueError(f"'{key}' is {value}, which is no measurement")
    return number


def _counts(key: str, value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ValueError(f"'{key}' maps names to counts, not {type(value).__name__}")
    return {name: round(_number(f"{key}.{name}", count)) for name, count in value.items()}


def tasks_from_json(value: object) -> dict[str, dict[str, int]]:
    """Return what is told of looping tasks; what a task left behind may be less than nothing."""
    if not isinstance(value, dict) or not all(isinstance(told, dict) for told in value.values()):
        raise ValueError("'tasks' maps names to objects")
    return {
        name: {key: round(_finite(f"tasks.{name}.{key}", told.get(key, 0))) for key in _TASK}
        for name, told in value.items()
    }
