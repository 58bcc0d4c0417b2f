"""Stand-ins for probes, launcher and history, behind the services: what a page shows is then what a test says."""

from unittest import mock

from face_data import process, report, status

from cubicweb_leakwatch import live, looks, reports, sobjects
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording import growth, history, kept_chart
from cubicweb_leakwatch.recording.tracks import tracks_of_samples
from cubicweb_leakwatch.serve import control


class Answers:
    """What the processes and the database will say; a test changes it before it asks for a page."""

    def __init__(self):
        self.status = status(process(), process("scheduler", pid=77, role="scheduler", limit=None))
        self.reports = [report()]
        self.samples = []
        self.restarts = []
        self.findings = []
        self.counts = []
        self.lives = []
        self.looks = []
        self.kept = []
        self.further = {}
        self.launcher = {"flags": [], "restarts": []}

    def start(self, test):
        """Stand in for probes and history until the test's end."""
        replaced = {
            (live, "status"): self._status,
            (reports, "last_reports"): lambda *_a, **_k: self.kept,
            (reports, "new_reports"): self._look,
            (looks, "kept_looks"): lambda *_a: self.further,
            (kept_chart, "chart_tracks"): lambda *_a, **_k: tracks_of_samples(self.samples),
            (history, "read_samples"): lambda *_a, **_k: self.samples,
            (history, "read_restarts"): lambda *_a, **_k: self.restarts,
            (history, "read_findings"): lambda *_a, **_k: self.findings,
            (sobjects, "read_findings"): lambda *_a, **_k: [f for f in self.findings if not f.get("closed_at")],
            (history, "read_processes"): lambda *_a, **_k: [
                {
                    "host": "here",
                    "name": name,
                    "pid": pid,
                    "started_at": "2026-01-01T00:00:00Z",
                    "ended_at": None,
                    "versions": None,
                }
                for name, pid in self.lives
            ],
            (history, "events"): lambda *_a: [],
            (growth, "read_counts"): lambda *_a, **_k: self.counts,
            (control, "ask_launcher"): self._ask_launcher,
        }
        for (module, name), stand_in in replaced.items():
            patch = mock.patch.object(module, name, stand_in)
            patch.start()
            test.addCleanup(patch.stop)

    def _status(self, *_args, **_kwargs):
        if isinstance(self.status, LeakwatchError):
            raise self.status
        return self.status, live.Look()

    def _ask_launcher(self, *_args, **_kwargs):
        if isinstance(self.launcher, LeakwatchError):
            raise self.launcher
        return self.launcher

    def _look(self, _directory, process=None, **_kwargs):
        self.looks.append(process)
        if isinstance(self.reports, LeakwatchError):
            raise self.reports
        return live.Look(self.reports)
