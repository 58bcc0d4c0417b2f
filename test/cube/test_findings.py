"""Findings open and close by themselves, and are told to whoever shows them."""

import dataclasses
import json
import os
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from cube_data import HOST, measured, sample
from cubicweb.devtools.apptest_config import PostgresApptestConfiguration
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch import reports
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.client import ProbeAddress
from cubicweb_leakwatch.recording import conclusions, findings, history
from cubicweb_leakwatch.recording.extensions import (
    extension_of,
    extensions_of,
    keep_sources,
    modules_in,
    traced_extension,
)
from cubicweb_leakwatch.recording.findings import POINTS, Findings, read_deployments, spread_samples
from cubicweb_leakwatch.recording.judge import judged
from cubicweb_leakwatch.recording.records import record_measured
from cubicweb_leakwatch.watch.finding import Culprit, Finding

LEAK = Finding(
    "web-1",
    "python-objects",
    since=1.5e9,
    rate_bytes_per_h=3e6,
    confidence=0.97,
    culprits=(Culprit("hg.httphandler", 120.0),),
    holder="POLLER.handlers",
    seconds_to_limit=7200.0,
    advice="Look at the holder.",
)
CALM = Finding("web-1", "steady", confidence=0.9)
LOOK = {
    "types": [
        {
            "type": "hg.httphandler",
            "instances": 1000,
            "unreached": 0,
            "holder": "app.POLLER.handlers",
            "fingerprint": "1234567890ab",
            "known": None,
        }
    ],
    "piles": [],
}


class FindingsTC(CubicWebTC):
    def setUp(self):
        """A runtime directory, and a process that lives."""
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.directory = Path(folder.name)
        self.findings = Findings(HOST, self.directory)
        looks = mock.patch.object(reports, "look_at_growth", side_effect=LeakwatchError("nobody to look at"))
        looks.start()
        self.addCleanup(looks.stop)
        self.write(lambda cnx: record_measured(cnx, measured(sample(time.time() - 60), started_at=1.5e9)))

    def write(self, act):
        """Act in a transaction of its own."""
        with self.repo.internal_cnx() as cnx:
            result = act(cnx)
            cnx.commit()
        return result

    def conclude(self, *rounds):
        """Let one conclusion after the other be drawn."""
        for finding in rounds:
            with mock.patch.object(conclusions, "conclude_apart", return_value=[finding.as_json()]):
                self.findings.update(self.write, {})

    def recorded(self):
        """Return the recorded findings: kind, whether closed, what they are about."""
        return self.write(
            lambda cnx: (
                cnx.execute(
                    "Any K, C, N, H, R ORDERBY O WHERE X is LeakFinding, X kind K, X closed_at C, X holder H,"
                    " X rate_bytes_per_h R, X opened_at O, X finding_of P, P name N"
                ).rows
            )
        )

    def test_one_conclusion_opens_nothing(self):
        """A leak that is seen once may be an hour's whim."""
        self.conclude(LEAK)
        assert self.recorded() == []

    def test_a_leak_seen_again_opens_one_finding(self):
        """Seen twice in a row it is recorded, once, whatever it is called in between."""
        self.conclude(LEAK, LEAK, LEAK)
        assert self.recorded() == [["python-objects", None, "web-1", "POLLER.handlers", 3e6]]

    def test_an_open_finding_follows_what_is_known(self):
        """New rates and a better kind go into the finding that is open."""
        self.conclude(LEAK, LEAK, Finding("web-1", "uncollectable", rate_bytes_per_h=5e6))
        assert self.recorded() == [["uncollectable", None, "web-1", "POLLER.handlers", 5e6]]

    def test_it_closes_when_the_leak_is_gone_for_good(self):
        """Three calm conclusions in a row close it; a doubtful one in between starts the count again."""
        self.conclude(LEAK, LEAK, CALM, CALM, LEAK, CALM, CALM)
        assert self.recorded()[0][1] is None
        self.conclude(CALM)
        assert self.recorded()[0][1] is not None

    def test_a_leak_that_comes_back_opens_its_finding_again(self):
        """The same kind and culprit in the same slot: one finding, which says that it came back."""
        self.conclude(LEAK, LEAK, CALM, CALM, CALM, LEAK, LEAK)
        assert [row[1] for row in self.recorded()] == [None]
        assert any("came back" in note for note in self.notes())

    def test_another_leak_is_a_new_finding(self):
        """Another culprit is another leak: the closed finding stays closed."""
        other = dataclasses.replace(LEAK, culprits=(Culprit("app.Other", 9.0),))
        self.conclude(LEAK, LEAK, CALM, CALM, CALM, other, other)
        assert [row[1] is None for row in self.recorded()] == [False, True]

    def test_what_ended_a_leak_is_noted_when_it_closes(self):
        """The deployment that fixed it stands in the closed finding."""
        deployment = {"t": 1.5e9, "text": "mercurial 6.9.5 → 7.2.4", "effect": "fixed"}
        fixed = dataclasses.replace(CALM, evidence={"deployment": deployment})
        self.conclude(LEAK, LEAK, fixed, fixed, fixed)
        assert self.notes() == ["fixed by the deployment of 2017-07-14T02:40:00Z (mercurial 6.9.5 → 7.2.4)"]

    def test_whoever_asked_is_told_once(self):
        """One message when a finding opens, none while it is open."""
        told = []
        self.findings = Findings(HOST, self.directory, told.append)
        self.conclude(LEAK, LEAK, LEAK, LEAK)
        assert [finding["process"] for finding in told] == ["web-1"]

    def notes(self):
        """Return the notes of the first recorded finding."""
        rows = self.write(
            lambda cnx: cnx.execute("Any E ORDERBY O WHERE X is LeakFinding, X evidence E, X opened_at O")
        )
        return json.loads(rows[0][0])["notes"]

    def test_managers_read_findings_as_documented(self):
        """What was recorded comes back in the documented shape; closed ones only when asked for."""
        self.conclude(LEAK, LEAK)
        (found,) = self.write(lambda cnx: history.read_findings(cnx, 0, time.time() + 1))
        assert {name: found[name] for name in LEAK.as_json()} == {**LEAK.as_json(), "since": "2017-07-14T02:40:00.000Z"}
        self.conclude(CALM, CALM, CALM)
        assert self.write(lambda cnx: history.read_findings(cnx, 0, time.time() + 1)) == []
        assert len(self.write(lambda cnx: history.read_findings(cnx, 0, time.time() + 1, closed=True))) == 1

    def test_the_process_is_looked_into_once(self):
        """When a finding opens, one look names what keeps the culprit; later rounds keep the name."""
        with mock.patch.object(reports, "look_at_growth", return_value=LOOK) as look:
            nameless = dataclasses.replace(LEAK, holder=None)
            self.conclude(nameless, nameless, nameless, nameless)
        look.assert_called_once_with(self.directory, "web-1", ["hg.httphandler"])
        assert self.recorded()[0][3] == "app.POLLER.handlers"

    def test_what_nothing_reaches_is_uncollectable(self):
        """The look finds that no module, frame or thread reaches the objects: the kind says so from the start on."""
        about = {**LOOK["types"][0], "unreached": 990}
        with mock.patch.object(reports, "look_at_growth", return_value={**LOOK, "types": [about]}):
            self.conclude(LEAK, LEAK)
        assert self.recorded()[0][0] == "uncollectable"

    def test_known_retention_that_ends_opens_nothing(self):
        """Objects in a cache that is known to have an end are no leak."""
        about = {**LOOK["types"][0], "known": {"harmless": True, "sentence": "it ends", "reference": "here"}}
        with mock.patch.object(reports, "look_at_growth", return_value={**LOOK, "types": [about]}):
            self.conclude(LEAK, LEAK, LEAK)
        assert self.recorded() == []

    def test_it_is_looked_into_again_when_it_has_doubled(self):
        """What was little at the first look may stand out now; and after some looks no more are taken."""
        grown = [dataclasses.replace(LEAK, rate_bytes_per_h=3e6 * times) for times in (1, 1.5, 2.1, 5, 11, 23, 47)]
        with mock.patch.object(reports, "look_at_growth", return_value=LOOK) as look:
            counts = []
            for finding in grown:
                self.conclude(finding)
                counts.append(look.call_count)
        assert counts == [1, 1, 2, 3, 4, 4, 4]

    def test_a_look_that_fails_leaves_the_holder_unknown(self):
        """No room for a copy, or nobody there: the finding opens all the same, and the look is tried again."""
        nameless = dataclasses.replace(LEAK, holder=None)
        with mock.patch.object(reports, "look_at_growth", side_effect=LeakwatchError("no room")):
            self.conclude(nameless, nameless)
        assert self.recorded()[0][3] is None
        with mock.patch.object(reports, "look_at_growth", return_value=LOOK):
            self.conclude(nameless)
        assert self.recorded()[0][3] == "app.POLLER.handlers"

    def test_memory_of_no_python_object_names_the_extensions_that_are_loaded(self):
        """One of them it is; without a process to ask, none is named."""
        native = dataclasses.replace(LEAK, kind="native", culprits=(), evidence={"notes": ["first"]})
        here = [ProbeAddress("web-1", os.getpid(), self.directory / "web-1.sock")]
        with mock.patch.object(findings, "find_probes", return_value=here):
            self.conclude(native)
        (found,) = conclusions.read_findings(self.directory)
        assert "lxml.etree" in found["evidence"]["extensions"] and "lxml.etree" in found["evidence"]["notes"][1]
        assert found["evidence"]["extension"] is None
        sources = [{"file": "src/lxml/etree.c", "bytes": 900}, {"file": "src/other/x.c", "bytes": 9000}]
        keep_sources(self.directory, "web-1", os.getpid(), sources)
        with mock.patch.object(findings, "find_probes", return_value=here):
            self.conclude(native)
        (found,) = conclusions.read_findings(self.directory)
        assert found["evidence"]["extension"] == "lxml.etree" and "lxml.etree" in found["evidence"]["notes"][1]
        self.conclude(native)
        (found,) = conclusions.read_findings(self.directory)
        assert found["evidence"] == {"notes": ["first"]}

    def test_pages_and_commands_read_it_without_a_database(self):
        """What was concluded last lies beside the probes, as documented."""
        self.conclude(LEAK)
        assert conclusions.read_findings(self.directory) == [LEAK.as_json()]
        told = conclusions.finding_of(conclusions.read_findings(self.directory), "web-1")
        assert (told.kind, told.leak, told.seconds_to_limit) == ("python-objects", True, 7200.0)
        assert conclusions.finding_of([], "web-2").kind == "not-enough-data"

    def test_the_limits_of_the_processes_reach_the_judge(self):
        """How long a process has left depends on its limit."""
        with mock.patch.object(conclusions, "conclude_apart", return_value=[]) as conclude:
            self.findings.update(self.write, {"web-1": 4096})
        (samples, limits, deployments), _ = conclude.call_args
        assert (len(samples), limits, deployments) == (1, {"web-1": 4096}, [])

    def test_the_judge_hears_of_deployments(self):
        """A slot whose new process has other versions installed was deployed to, at its start."""
        now = time.time()
        for start, version in ((now - 7200, "6.9.5"), (now - 3600, "7.2.4")):
            living = measured(sample(start + 60), name="web-2", pid=int(start), started_at=start)
            living = dataclasses.replace(
                living, identity=dataclasses.replace(living.identity, versions={"mercurial": version})
            )
            self.write(lambda cnx, living=living: record_measured(cnx, living))
        (deployment,) = self.write(lambda cnx: read_deployments(cnx, HOST, now))
        assert (deployment["process"], deployment["text"]) == ("web-2", "mercurial 6.9.5 → 7.2.4")

    def test_a_day_is_enough_and_evenly_spread(self):
        """Of the last day some hundred samples are read, evenly spread, with their types; of older ones none."""
        now = time.time()
        samples = [sample(now - 86000 + 60 * i, types={"dict": i + 1}) for i in range(3 * POINTS // 2)]
        self.write(lambda cnx: record_measured(cnx, measured(sample(now - 90000), *samples, name="web-2", pid=5)))
        found = [row for row in self.write(lambda cnx: spread_samples(cnx, HOST, now)) if row["process"] == "web-2"]
        assert POINTS // 2 < len(found) <= POINTS
        assert found[-1]["types"] == {"dict": 3 * POINTS // 2}
        gaps = {round(late["t"] - early["t"]) for early, late in pairwise(found)}
        assert gaps == {120}


@pytest.mark.timeout(300)  # the first one starts the cluster
@pytest.mark.usefixtures("postgres")
class FindingsOnPostgresTC(FindingsTC):
    """All of the above on PostgreSQL."""

    configcls = PostgresApptestConfiguration


def test_the_judge_concludes_for_each_process():
    """A process apart gets samples of several processes and returns a finding for each."""
    samples = [{"t": 60.0 * i, "rss": 10**8, "process": name} for i in range(5) for name in ("web-1", "scheduler")]
    events = [{"process": "web-1", "t": 1.0, "kind": "deployment", "text": "x 1 → 2", "host": "h"}]
    found = judged({"samples": samples, "events": events})
    assert [finding["process"] for finding in found] == ["scheduler", "web-1"]


def test_the_judge_runs_apart():
    """Samples go in, findings come out, and this process has loaded no NumPy for it."""
    samples = [{"t": 60.0 * i, "rss": 10**8, "process": "web-1"} for i in range(3)]
    (finding,) = conclusions.conclude_apart(samples, {"web-1": None})
    assert finding["process"] == "web-1"


@pytest.mark.parametrize(
    "done",
    [
        subprocess.CompletedProcess([], 1, b"[]", b"ValueError: a sample needs 'rss'\n"),
        subprocess.CompletedProcess([], 0, b"no json", b"ValueError: a sample needs 'rss'"),
        subprocess.CompletedProcess([], 0, b"{}", b"ValueError: a sample needs 'rss'"),
    ],
)
def test_a_judge_that_fails_says_why(monkeypatch, done):
    """The operator reads the last line of what it said."""
    monkeypatch.setattr(subprocess, "run", mock.Mock(return_value=done))
    with pytest.raises(LeakwatchError, match="needs 'rss'"):
        conclusions.conclude_apart([], {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"t": 1}', '{"t": "x", "findings": []}', '{"t": 1, "findings": []}'])
def test_findings_that_are_damaged_or_old_are_none(tmp_path, text):
    """Half a file, another's file, or one of last year gives no finding and no error."""
    (tmp_path / "findings.json").write_text(text)
    assert conclusions.read_findings(tmp_path) == []


def test_findings_are_for_the_owner_alone(tmp_path):
    """The file names types and holders of the heap."""
    conclusions.write_findings(tmp_path, [LEAK.as_json()])
    path = tmp_path / "findings.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["findings"][0]["process"] == "web-1"


def test_extensions_are_named_as_modules():
    """Of packages alone: neither the interpreter's own modules nor what a wheel brings; a gone process has none."""
    maps = [
        "7f00-7f01 r-xp 00000000 fe:00 1 /venv/lib/python3.11/site-packages/multidict/_multidict.cpython-311-x86.so",
        "7f01-7f02 r--p 00001000 fe:00 1 /venv/lib/python3.11/site-packages/multidict/_multidict.cpython-311-x86.so",
        "7f02-7f03 r-xp 00000000 fe:00 2 /usr/lib/python3/dist-packages/_cffi_backend.abi3.so",
        "7f03-7f04 r-xp 00000000 fe:00 3 /venv/lib/python3.11/site-packages/lxml.libs/libxml2-1f.so",
        "7f04-7f05 r-xp 00000000 fe:00 4 /usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so",
        "7f06-7f07 r-xp 00000000 fe:00 5 /srv/site/ours.cpython-311-x86_64-linux-gnu.so",
        "7f05-7f06 rw-p 00000000 00:00 0 [heap]",
    ]
    assert modules_in(maps) == ("_cffi_backend", "multidict._multidict", "ours")
    assert extensions_of(2**22 + 1) == ()


def test_a_source_of_c_belongs_to_an_extension_or_to_its_package():
    """By its own name; else by its package, which may have several extensions; the interpreter's belong to none."""
    loaded = ("lxml.etree", "lxml.objectify", "multidict._multidict", "psutil._psutil_linux")
    assert extension_of("src/lxml/objectify.c", loaded) == "lxml.objectify"
    assert extension_of("src/lxml/helpers.h", loaded) == "lxml"
    assert extension_of("multidict/_multilib/istr.h", loaded) == "multidict._multidict"
    assert extension_of("Objects/unicodeobject.c", loaded) is None


def test_a_recording_names_the_extension_of_the_process_it_was_made_of(tmp_path):
    """Not when it was of another process, when none stands out, or when there is none."""
    loaded = ("lxml.etree", "multidict._multidict")
    assert traced_extension(tmp_path, "web-1", 7, loaded) is None
    sources = [{"file": "multidict/_multidict.c", "bytes": 300}, {"file": "src/lxml/etree.c", "bytes": 100}]
    keep_sources(tmp_path, "web-1", 7, sources)
    assert traced_extension(tmp_path, "web-1", 7, loaded) == ("multidict._multidict", 0.75)
    assert traced_extension(tmp_path, "web-1", 8, loaded) is None
    keep_sources(tmp_path, "web-1", 7, [{**source, "bytes": 5} for source in sources])
    assert traced_extension(tmp_path, "web-1", 7, loaded) is None


def test_a_conclusion_is_overdue_after_three_intervals(tmp_path):
    """Five minutes at least; never where recording is off, or none was ever drawn, or the file is damaged."""
    assert conclusions.overdue_since(tmp_path, 60.0) is None
    conclusions.write_findings(tmp_path, [])
    assert conclusions.overdue_since(tmp_path, 60.0) is None
    now = time.time()
    with mock.patch.object(conclusions.time, "time", return_value=now + 400):
        assert conclusions.overdue_since(tmp_path, 60.0) == pytest.approx(now, abs=30)
        assert conclusions.overdue_since(tmp_path, 180.0) is None
        assert conclusions.overdue_since(tmp_path, None) is None
        (tmp_path / conclusions.FILE).write_text("[")
        assert conclusions.overdue_since(tmp_path, 60.0) is None
