"""Whether restarts help: a worker back near its limit in a tenth of its predecessor's life will not be helped by more.

A life counts in seconds and, where the worker tells them, in requests: after a quiet night the first busy minutes are
no relapse.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cubicweb_leakwatch.serve.records import Slot

SHARE = 10
# After so long it is tried again: what the site does may have changed.
STOPPED_S = 86400.0


def is_relapse(slot: Slot, life_s: float, served: int | None) -> bool:
    """Whether this life, up to now, is less than a tenth of the last one that ended for a reason."""
    if life_s * SHARE >= slot.good_life_s:
        return False
    known = served is not None and slot.good_served is not None
    return not known or (served or 0) * SHARE < (slot.good_served or 0)


def remember(slot: Slot, life_s: float, served: int | None) -> None:
    """Take this life as the measure of the next ones."""
    slot.good_life_s, slot.good_served = life_s, served
    slot.stopped_until = None


def stop(slot: Slot, life_s: float, how: str, now: float) -> str:
    """Have no worker of the slot replaced for its limits; return what the operator is told."""
    slot.stopped_until = now + STOPPED_S
    return (
        f"{slot.name} was {how} after {life_s:.0f} s, its predecessor lasted {slot.good_life_s:.0f} s: restarts do not "
        "help, no more of them until one by hand; raise the limit, or see what holds the memory"
    )


def is_stopped(slot: Slot, now: float) -> bool:
    """Whether the slot's wishes are refused."""
    return slot.stopped_until is not None and now < slot.stopped_until
