"""The journal of finished restarts: one JSON line each in ``restarts.jsonl``, the newest also in memory as text."""

from __future__ import annotations

import json
import os
from collections import deque

from cubicweb_leakwatch.serve.logline import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JOURNAL = "restarts.jsonl"
# How every line begins.
ID_FIRST = '{"id":"'
# What the launcher itself remembers; readers that come every minute never miss one.
REMEMBERED = 60
# Beyond this the file is rewritten with the remembered lines alone.
MAX_BYTES = 512 * 1024


class Journal:
    """Appends records; never raises for a full disk: the memory of the last ones goes on."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/{JOURNAL}"
        self._lines: deque[str] = deque(maxlen=REMEMBERED)
        # How many restarts of each process ended how, since this launcher started: what a counter needs.
        self.counts: dict[str, dict[str, int]] = {}
        self._load()

    def add(self, record: dict[str, Any]) -> None:
        """Keep one finished restart, whose first member must be its id."""
        line = json.dumps(record, separators=(",", ":"))
        self._lines.append(line)
        try:
            self._append(line)
        except OSError as error:
            log("journal-not-written", path=self.path, why=error.strerror)

    def count(self, process: str, outcome: str) -> None:
        """Count a finished restart."""
        outcomes = self.counts.setdefault(process, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    def after(self, last_id: str) -> list[str]:
        """Return the remembered records whose id comes after ``last_id``, oldest first, as JSON texts.

        They are compared as text, never parsed: an answer must not cost the launcher more memory than its size.
        """
        return [line for line in self._lines if line[len(ID_FIRST) :].partition('"')[0] > last_id]

    def _append(self, line: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
            full = os.fstat(descriptor).st_size > MAX_BYTES
        finally:
            os.close(descriptor)
        if full:
            self._rewrite()

    def _rewrite(self) -> None:
        fresh = self.path + ".new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for line in self._lines:
                os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)
        os.replace(fresh, self.path)  # noqa: PTH105

    def _load(self) -> None:
        """Read line by line: a long file must not pass through the launcher's memory at once."""
        try:
            with open(self.path) as lines:  # noqa: PTH123
                for line in lines:
                    if _is_record(line):
                        self._lines.append(line.strip())
        except (OSError, UnicodeDecodeError):
            return


def _is_record(line: str) -> bool:
    """A power cut can leave half a line."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return line.startswith(ID_FIRST)
