"""What leakwatch concludes from a process's history, as data; ``conclude`` makes it, pages and commands show it.

Nothing but the standard library is imported, so a web worker can hold findings without NumPy.
"""

import dataclasses
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

Kind = Literal[
    "steady",
    "warming-up",
    "plateau",
    "python-objects",
    "uncollectable",
    "python-memory",
    "native",
    "fragmentation",
    "file-descriptors",
    "threads",
    "not-enough-data",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAKS: frozenset[Kind] = frozenset(
    {"python-objects", "uncollectable", "python-memory", "native", "file-descriptors", "threads"}
)

EventKind = Literal["start", "end", "restart", "deployment"]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a process at ``t`` (unix seconds) and stands on its chart."""

    t: float
    kind: EventKind
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Culprit:
    """A type whose growth explains the memory's; ``bytes_per_h`` is None when its share cannot be told."""

    type: str
    objects_per_h: float
    bytes_per_h: float | None = None


@dataclasses.dataclass(frozen=True)
class ViewShare:
    """What one request of a view keeps for good, with its 95 % interval, and the view's share (0..1) of the growth.

    A looping task stands here as ``task NAME``, with what one of its runs keeps.
    """

    view: str
    bytes_per_request: float
    share: float
    low: float
    high: float

    @property
    def of_task(self) -> bool:
        """Whether this is a looping task."""
        return self.view.startswith("task ")


@dataclasses.dataclass(frozen=True)
class Finding:
    """The conclusion about one process; a field that is not known is None.

    ``since`` is unix seconds; rates are bytes an hour with their 95 % interval; ``ceiling`` (bytes) only for a plateau.
    """

    process: str
    kind: Kind
    since: float | None = None
    rate_bytes_per_h: float | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    bytes_per_request: float | None = None
    confidence: float = 0.0
    culprits: tuple[Culprit, ...] = ()
    holder: str | None = None
    views: tuple[ViewShare, ...] = ()
    ceiling: int | None = None
    seconds_to_limit: float | None = None
    advice: str = ""
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def leak(self) -> bool:
        """Whether the kind is one that grows for ever."""
        return self.kind in LEAKS

    def seconds_left(self, rss: float | None, limit: float | None) -> float | None:
        """Return the seconds until a process that holds ``rss`` bytes now reaches its limit, if it is going to.

        What was concluded may be about the process before this one: it is not said to be nearer than it can be.
        """
        left, rate = self.seconds_to_limit, self.rate_bytes_per_h or 0.0
        if left is None or rss is None or limit is None or not self.leak or rate <= 0:
            return left
        return max(left, (limit - rss) / rate * 3600)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Finding":
        """Read a finding in the documented shape, as ``as_json`` wrote it; what is not known may be left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {key: value for key, value in data.items() if key in known and value is not None}
        if "since" in values:
            values["since"] = datetime.fromisoformat(values["since"]).timestamp()
        values["culprits"] = tuple(Culprit(**culprit) for culprit in data.get("culprits") or ())
        values["views"] = tuple(ViewShare(**view) for view in data.get("views") or ())
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Return the finding in the documented shape: times as ISO 8601 UTC text, unknown as None."""
        data: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["leak"] = self.leak
        data["since"] = None if self.since is None else iso_utc(self.since)
        data["culprits"] = [dataclasses.asdict(culprit) for culprit in self.culprits]
        data["views"] = [dataclasses.asdict(view) for view in self.views]
        data["evidence"] = dict(self.evidence)
        return data


def iso_utc(t: float) -> str:
    """Return unix seconds ``t`` as ISO 8601 UTC text, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))
