"""The autopsy: the heap dump of a worker that has drained, before it exits; it disturbs nobody any more.

Only a worker that asked for its successor itself is examined, unless LEAKWATCH_AUTOPSY is ``always`` or ``never``.
"""

import contextlib
import logging
from pathlib import Path

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.server import Probe

LOG = logging.getLogger("leakwatch.serve")

FOLDER = "autopsies"
KEPT = 5
TIME_LIMIT_S = 25.0
ALWAYS, NEVER = "always", "never"


def is_wanted(setting: str, asked_itself: bool) -> bool:
    """Whether a drained worker is examined."""
    return setting == ALWAYS or (asked_itself and setting != NEVER)


def take(probe: Probe) -> str | None:
    """Write the dump, keep it among the last few, and return its path; None, and a line in the log, when it failed."""
    folder = probe.path.parent / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        taken = Path(probe.answers.dump({"time_limit_s": TIME_LIMIT_S})["path"])
        kept = taken.rename(folder / taken.name)
    except (LeakwatchError, OSError) as error:
        LOG.warning("event=autopsy-failed why=%r", str(error))
        return None
    _keep_newest(folder)
    return str(kept)


def _keep_newest(folder: Path) -> None:
    dumps = sorted(folder.glob("*.dump"), key=lambda dump: dump.stat().st_mtime, reverse=True)
    for old in dumps[KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
