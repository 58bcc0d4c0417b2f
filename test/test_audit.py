"""The audit log and the limit on looks."""

import json
import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from cubicweb_leakwatch import audit
from cubicweb_leakwatch.errors import LeakwatchError


def entries(directory: Path) -> list[dict[str, object]]:
    """Return what was written down."""
    return [json.loads(line) for line in (directory / audit.FILE).read_text().splitlines()]


def test_what_happened_is_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a file that its owner alone can read, and in the log."""
    with caplog.at_level(logging.INFO, "leakwatch.audit"):
        audit.note(tmp_path, "restart", login="ada", process="web-1", reason="a\nb")
    (entry,) = entries(tmp_path)
    assert (entry["event"], entry["login"], entry["reason"]) == ("restart", "ada", "a\nb")
    assert stat.S_IMODE((tmp_path / audit.FILE).stat().st_mode) == 0o600
    assert caplog.messages == [r"restart login='ada' process='web-1' reason='a\nb'"]


def test_the_thirteenth_look_within_a_minute_is_refused(tmp_path: Path) -> None:
    """It says when to ask again; a minute after the first, one more may be taken."""
    with mock.patch("cubicweb_leakwatch.audit.time.time") as now:
        for number in range(audit.LOOKS_A_MINUTE):
            now.return_value = 1000.0 + number
            audit.admit_look(tmp_path, login="ada")
        now.return_value = 1020.0
        with pytest.raises(LeakwatchError) as caught:
            audit.admit_look(tmp_path, login="ada")
        assert (caught.value.code, caught.value.hint) == ("too-many-looks", "ask again in 40 s")
        now.return_value = 1060.5
        audit.admit_look(tmp_path, login="ada")
    assert len(entries(tmp_path)) == audit.LOOKS_A_MINUTE + 1


def test_other_events_do_not_count_as_looks(tmp_path: Path) -> None:
    """Restarts and dumps of the command line take nothing away from the pages; half a line is passed over."""
    for _ in range(50):
        audit.note(tmp_path, "dump", uid=0)
    with (tmp_path / audit.FILE).open("a") as file:
        file.write('{"event": "look", "t": 1' + "0" * 400 + "}\n" + "[" * 50_000 + "\n")
        file.write('{"event": "look"}\n{"event": "lo')
    audit.admit_look(tmp_path, login="ada")


def test_the_file_is_begun_anew(tmp_path: Path) -> None:
    """It never takes more than twice its limit."""
    with mock.patch.object(audit, "MAX_BYTES", 1000):
        for number in range(60):
            audit.note(tmp_path, "look", number=number)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 1200


def test_many_at_once_write_whole_lines(tmp_path: Path) -> None:
    """Workers and probes share the file."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.note(tmp_path, "look", filling="x" * 500, number=number), range(200)))
    assert sorted(entry["number"] for entry in entries(tmp_path)) == list(range(200))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Nothing is appended to what a link leads to, and nobody is kept from working."""
    target = tmp_path / "target"
    target.write_text("")
    (tmp_path / audit.FILE).symlink_to(target)
    audit.note(tmp_path, "look")
    assert target.read_text() == ""
