"""Whether there is the memory for a copy of this process."""

from pathlib import Path

from cubicweb_leakwatch.room import Room, read_room

_PAGE_BYTES = 4096
_MARGIN_BYTES = 64 << 20


def needed_bytes() -> int:
    """Return what a copy may cost: every page of this process, should both sides come to write on it, and a margin."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES + _MARGIN_BYTES


def why_no_room(needed: int, room: Room | None = None) -> str | None:
    """Say in one sentence why a copy of ``needed`` bytes is too much; None when there is room, or nobody says."""
    room = room or read_room()
    if room.available is None or room.available >= needed:
        return None
    where = "the host" if room.available == room.host_available else "the control group"
    return f"a copy of this process may need {_mib(needed)}, and {where} has only {_mib(room.available)} left"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"
