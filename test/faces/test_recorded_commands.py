"""Commands on what was recorded: history, findings, snapshots, purge; each against a stand-in repository."""

import contextlib
import csv
import io
import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from face_data import HOSTILE, restart, sample

from cubicweb_leakwatch.commands import leak_findings, leak_history, leak_snapshot
from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.leak_diagnose import LeakDiagnose
from cubicweb_leakwatch.commands.leak_findings import LeakFindings
from cubicweb_leakwatch.commands.leak_history import LeakHistory
from cubicweb_leakwatch.commands.leak_snapshot import LeakSnapshot
from cubicweb_leakwatch.commands.moments import moment
from cubicweb_leakwatch.commands.spark import sparkline
from cubicweb_leakwatch.recording import conclusions

NOW = 1_700_000_000.0
MIB = 1024**2


class Connection:
    """Stands for a connection: gives what it was made with, and remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call_service(self, name: str, **parameters: Any) -> Any:
        """Answer as the services do."""
        self.asked.append((name, parameters))
        return self.answer


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance on disk; return its runtime directory."""
    (tmp_path / "site" / "leakwatch").mkdir(parents=True)
    (tmp_path / "site" / "bootstrap_cubes").write_text("leakwatch\n")
    monkeypatch.setenv("CW_INSTANCES_DIR", str(tmp_path))
    monkeypatch.setenv("CW_INSTANCES_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CW_RUNTIME_DIR", raising=False)
    return tmp_path / "site" / "leakwatch"


def answering(monkeypatch: pytest.MonkeyPatch, module: Any, answer: Any) -> Connection:
    """Let the module's repository give ``answer``."""
    cnx = Connection(answer)

    @contextlib.contextmanager
    def connection(_instance: Any) -> Iterator[Connection]:
        yield cnx

    monkeypatch.setattr(module, "connection", connection)
    return cnx


def run(command: type[Command], *words: str) -> int:
    """Run a command."""
    return command(None).main_run(list(words))


@pytest.fixture
def history(site: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Ten minutes of one process, with a restart whose reason is hostile."""
    samples = [sample(NOW + 60 * i, (100 + i) * MIB, note="=1+1") for i in range(10)]
    events = [{"t": NOW + 90, "kind": "restart", "process": "web-1", "text": HOSTILE, "host": "here"}]
    answer = {"samples": samples, "events": events, "restarts": [restart()], "since": NOW, "until": NOW + 600}
    return answering(monkeypatch, leak_history, answer)


def test_history_is_a_row_a_process_and_what_happened(history: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """First, last, change, a line of blocks, the restarts; nothing hostile."""
    assert run(LeakHistory, "site") == 0
    out = capsys.readouterr().out
    assert "10 snapshots" in out
    assert "+9.0" in out
    assert "▁" in out
    assert "█" in out
    assert "restart" in out
    assert "\x1b" not in out


def test_history_json_is_the_list_of_samples(history: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """Which leak-diagnose reads; events and restarts stand beside it."""
    assert run(LeakHistory, "site", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["data"] == history.answer["samples"]
    assert len(document["events"]) == len(document["restarts"]) == 1


def test_history_csv_is_read_by_a_spreadsheet_as_data(history: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """A header, a row a sample, bytes; a text that looks like a formula is none."""
    assert run(LeakHistory, "site", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 10
    assert rows[0]["rss"] == str(100 * MIB)
    assert rows[0]["uss"] == ""
    assert rows[0]["note"] == "'=1+1"


def test_history_svg_is_a_picture_that_stands_alone(history: Connection, tmp_path: Path) -> None:
    """Valid XML with its styles, and hostile reasons as text."""
    target = tmp_path / "memory.svg"
    assert run(LeakHistory, "site", "--svg", str(target)) == 0
    tree = ET.parse(target).getroot()
    assert tree.tag.endswith("svg")
    assert "stroke" in (tree.findtext("{http://www.w3.org/2000/svg}style") or "")
    assert not list(tree.iter("{http://www.w3.org/2000/svg}script"))


def test_history_asks_for_the_time_that_was_named(history: Connection) -> None:
    """How long ago, or a moment."""
    run(LeakHistory, "site", "--since", "2h", "--until", "1h", "--process", "web-1")
    ((name, asked),) = history.asked
    assert name == "leakwatch_history"
    assert asked["until"] - asked["since"] == pytest.approx(3600, abs=5)
    assert asked["process"] == "web-1"


def test_a_time_that_ends_before_it_begins_is_refused(history: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """Code 4, and nothing is asked."""
    assert run(LeakHistory, "site", "--since", "1h", "--until", "2h") == 4
    assert history.asked == []


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "-", ""])
def test_what_is_no_moment_is_refused(site: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With examples of what is one."""
    assert run(LeakHistory, "site", f"--since={text}") == 4
    assert "24h" in capsys.readouterr().err


def test_moments() -> None:
    """A day is local midnight, a zone is respected, a duration is ago."""
    assert moment("2026-05-01T12:00:00Z") == 1777636800.0
    assert moment("24h") == pytest.approx(time.time() - 86400, abs=5)
    assert moment("now") == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([5], "▁"), ([1, 1, 1], "▁▁▁"), ([0, 7], "▁█"), ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█")],
)
def test_a_sparkline_shows_the_shape(values: list[float], line: str) -> None:
    """The lowest value is the lowest block."""
    assert sparkline(values) == line


def test_a_sparkline_keeps_its_width_and_the_peak() -> None:
    """Of each stretch the highest."""
    line = sparkline([0.0] * 500 + [9.0] + [0.0] * 499, 40)
    assert len(line) == 40
    assert "█" in line


FINDING = {
    "process": "scheduler",
    "kind": "python-objects",
    "leak": True,
    "since": "2026-01-01T00:00:00Z",
    "rate_bytes_per_h": 4.0 * MIB,
    "rate_low": 3.0 * MIB,
    "rate_high": 5.0 * MIB,
    "bytes_per_request": None,
    "confidence": 0.97,
    "culprits": [{"type": HOSTILE, "objects_per_h": 1200.0, "bytes_per_h": None}],
    "holder": None,
    "views": [],
    "ceiling": None,
    "seconds_to_limit": 7200.0,
    "advice": "python-objects leak",
    "evidence": {"why": "objects grow", "notes": [HOSTILE]},
}


def test_findings_come_from_the_looping_task(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a database: verdict first, evidence below, the next step."""
    conclusions.write_findings(site, [FINDING])
    assert run(LeakFindings, "site") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "scheduler: python-objects leak"
    assert "+4.0 MiB/h (95 %: +3.0 MiB/h to +5.0 MiB/h)" in out
    assert "97%: objects grow" in out
    assert "\x1b" not in out
    assert "leak-gc site --process scheduler" in err


def test_findings_json_is_the_documented_list(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unchanged; another process's are left out when one is named."""
    conclusions.write_findings(site, [FINDING])
    run(LeakFindings, "site", "--json")
    assert json.loads(capsys.readouterr().out)["data"] == [FINDING]
    run(LeakFindings, "site", "--json", "--process", "web-1")
    assert json.loads(capsys.readouterr().out)["data"] == []


def test_findings_without_a_looping_task_are_drawn_now(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the recorded samples, in a process apart; without samples it says so."""
    answering(monkeypatch, leak_findings, None)
    monkeypatch.setattr(leak_findings, "spread_samples", lambda *_a: [])
    assert run(LeakFindings, "site") == 0
    assert "nothing can be concluded" in capsys.readouterr().out
    monkeypatch.setattr(leak_findings, "spread_samples", lambda *_a: [sample(NOW)])
    monkeypatch.setattr(leak_findings, "conclude_apart", lambda samples, limits: [FINDING])
    run(LeakFindings, "site")
    assert "python-objects leak" in capsys.readouterr().out


def test_a_snapshot_of_nothing_fails_before_the_database_is_opened(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No process answers: code 4, as for every command that looks at processes."""
    cnx = answering(monkeypatch, leak_snapshot, None)
    assert run(LeakSnapshot, "site") == 4
    assert "no process of site answers" in capsys.readouterr().err
    assert cnx.asked == []


def test_diagnose_reads_a_file_of_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One finding a process, without any instance."""
    path = tmp_path / "samples.jsonl"
    path.write_text(
        "".join(json.dumps({"t": NOW + 60 * i, "rss": 100 * MIB, "process": "w"}) + "\n" for i in range(60))
    )
    assert run(LeakDiagnose, str(path), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["instance"] is None
    assert [finding["process"] for finding in document["data"]] == ["w"]
    assert document["data"][0]["leak"] is False


@pytest.mark.parametrize("words", [["/nowhere/samples.jsonl"], [], ["--json", "/nowhere/x"]])
def test_diagnose_without_a_readable_file_fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line or one document, code 4."""
    assert run(LeakDiagnose, *words) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] is False if "--json" in words else err.count("\n") == 1
