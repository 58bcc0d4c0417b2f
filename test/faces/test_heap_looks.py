"""The further looks of the gc page: what each costs is told, each is a POST, and hostile names are text everywhere."""

import pytest
from cubicweb_web.devtools.testlib import PyramidWebCWTC
from face_answers import Answers
from face_data import HOSTILE, catalogue, process

from cubicweb_leakwatch import looks
from cubicweb_leakwatch.errors import LeakwatchError

SUSPECT = {
    "type": HOSTILE,
    "objects": 2000,
    "retained": 4_000_000,
    "share": 0.25,
    "holder": f"app.CACHE[…]{HOSTILE}",
    "accumulates": [],
    "fingerprint": "0123456789ab",
    "known": {"harmless": True, "sentence": HOSTILE, "reference": "https://example.org/"},
}
FOUND = {
    looks.RETAINED: {
        "taken": {"objects": 10, "bytes": 1000},
        "suspects": [SUSPECT, {**SUSPECT, "known": None}],
        "largest": [{"type": HOSTILE, "retained": 5, "share": 0.1, "holder": HOSTILE}],
        "modules": [{"module": HOSTILE, "retained": 7}],
        "types": [{"type": HOSTILE, "count": 3, "bytes": 5, "retained": 9}],
        "unreachable": {"objects": 12, "bytes": 3000, "types": []},
        "over_referenced": [{"type": HOSTILE, "count": 4, "bytes": 10}],
    },
    looks.HOLDERS: {
        "type": HOSTILE,
        "instances": 2000,
        "examined": 1000,
        "groups": [
            {
                "count": 1000,
                "share": 1.0,
                "path": ["module app", f".{HOSTILE}", "dict", "[…]", HOSTILE],
                "text": f"app.{HOSTILE}[…]",
                "source": f"{HOSTILE}.py:3",
            }
        ],
        "picture": True,
    },
    looks.MARK: {"taken": {"objects": 10, "bytes": 1000}},
    looks.GROWTH: {
        "growth": [
            {"type": HOSTILE, "objects_delta": 5, "bytes_delta": 500, "holders": [{"text": HOSTILE, "count": 5}]}
        ]
    },
}


class LooksTC(PyramidWebCWTC):
    """A manager looks further."""

    def setUp(self):
        """An instance of two processes, and one user who is no manager."""
        super().setUp()
        self.answers = Answers()
        self.answers.status["processes"].append(process(HOSTILE, pid=78))
        self.answers.start(self)
        self.taken = []
        self.outcome = {"taken": {}}
        patch = pytest.MonkeyPatch()
        patch.setattr(looks, "take_look", self._take)
        self.addCleanup(patch.undo)
        self.patch = patch

    def _take(self, _directory, name, kind, *, type_name=""):
        self.taken.append((name, kind, type_name))
        if isinstance(self.outcome, LeakwatchError):
            raise self.outcome
        return self.outcome

    def test_each_look_is_a_button_whose_cost_is_told(self):
        """Opening what is kept looks at nothing; without a mark there is nothing to compare."""
        self.login()
        text = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200).text
        assert self.answers.looks == self.taken == []
        assert text.count('/leakwatch-look" method="post"') == 3
        assert text.count('/leakwatch-dump" method="post"') == 1
        assert "stands still for some milliseconds" in text

    def test_a_look_is_a_post_that_leads_back_to_the_page(self):
        """The page then shows what was kept, so that a reload costs nothing."""
        self.login()
        page = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200)
        form = next(form for form in page.forms.values() if "type" in form.fields)
        form["type"] = " app.Entry "
        answer = form.submit(status=303)
        assert self.taken == [("web-1", "holders", "app.Entry")]
        assert "process=web-1" in answer.location and "show=kept" in answer.location
        assert answer.location.endswith("#lw-holders")

    def test_a_type_that_is_not_there_is_to_be_corrected(self):
        """What was typed stands in the form again, beside what was wrong with it."""
        self.login()
        page = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200)
        form = next(form for form in page.forms.values() if "type" in form.fields)
        form["type"] = "app.Entyr"
        self.outcome = LeakwatchError("no object of type app.Entyr is in this heap", "", "no-type")
        told = form.submit(status=303).follow(status=200)
        assert "no object of type app.Entyr" in told.text
        assert next(form for form in told.forms.values() if "type" in form.fields)["type"].value == "app.Entyr"

    def test_a_refusal_is_told_in_the_readers_language(self):
        """CubicWeb asks the browser for the language of its own pages alone."""
        self.login()
        self.outcome = LeakwatchError("no object of type x is in this heap", "leak-gc lists the types", "unknown-type")
        page = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200)
        form = next(form for form in page.forms.values() if form.action.endswith("look"))
        words = {message: told for (_context, message), told in catalogue("fr").items()}
        translate = lambda message: words.get(message, message)  # noqa: E731
        self.config.translations["fr"] = (translate, lambda _context, message: translate(message))
        french = {"Accept-Language": "fr"}
        told = form.submit(status=303, headers=french).follow(status=200, headers=french).text
        assert "pas d" in told and "objet de ce type" in told

    def test_each_look_says_when_it_was_taken(self):
        """What grew since the mark says since when, and what a partial copy leaves out is no clean heap."""
        self.login()
        taken = {"taken_at": "2026-01-02T03:04:05Z", "pause_ms": 3.25, "partial": "no room"}
        grown = {**FOUND[looks.GROWTH], "taken": taken, "marked_at": "2026-01-01T01:02:03Z"}
        self.answers.further = {looks.MARK: FOUND[looks.MARK], looks.GROWTH: grown}
        text = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200).text
        assert '<time datetime="2026-01-02T03:04:05Z">' in text
        assert "the process stood still for 3.2 ms" in text
        assert "Partial answer: no room" in text
        assert 'Since the mark of <time datetime="2026-01-01T01:02:03Z">' in text

    def test_following_a_link_looks_at_nothing(self):
        """An address does not start a look."""
        self.login()
        self.webapp.get("/leakwatch-look?process=web-1&kind=retained", status=404)
        assert self.taken == []

    def test_a_refusal_is_told_on_the_page(self):
        """One look at a time."""
        self.login()
        self.outcome = LeakwatchError("another look is going on", "wait for it", "busy")
        page = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200)
        form = next(form for form in page.forms.values() if form.action.endswith("look"))
        assert "another look is going on" in form.submit(status=303).follow(status=200).text

    def test_hostile_names_are_text_in_every_look(self):
        """Types, holders, keys, files, modules."""
        self.login()
        self.answers.further = FOUND
        text = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200).text
        assert "<script>alert" not in text
        assert "\x1b" not in text and "\u202e" not in text and "\x00" not in text
        assert text.count("&lt;script&gt;alert") > 10
        assert "<details" in text and "holders.svg" in text
        assert "0123456789ab" in text

    def test_a_dump_is_sent_and_removed(self):
        """With its name; nothing stays behind."""
        self.login()
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.sent"
            path.write_bytes(b"LEAKWATCH HEAP")
            sent = {"path": str(path), "bytes": 14, "name": "web-1-4242.dump"}
            self.patch.setattr(looks, "dump_to_send", lambda *_a: sent)
            page = self.webapp.get("/?vid=gc&process=web-1&show=kept", status=200)
            form = next(form for form in page.forms.values() if form.action.endswith("dump"))
            answer = form.submit(status=200)
            assert answer.body == b"LEAKWATCH HEAP"
            assert 'filename="web-1-4242.dump"' in answer.headers["Content-Disposition"]
            assert not path.exists()

    def test_the_picture_can_run_nothing(self):
        """It is sent with a policy that forbids everything; where there is none, 404."""
        self.login()
        self.patch.setattr(looks, "kept_picture", lambda _d, _p, form: b"<svg/>" if form == "svg" else None)
        answer = self.webapp.get("/_leakwatch/holders.svg?process=web-1", status=200)
        assert answer.content_type == "image/svg+xml"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        self.webapp.get("/_leakwatch/holders.dot?process=web-1", status=404)

    def test_others_get_nothing(self):
        """A user may neither look nor take a dump away."""
        with self.admin_access.cnx() as cnx:
            self.create_user(cnx, "ada", groups=("users",), password="ada12345")
            cnx.commit()
        self.login("ada", "ada12345")
        for address in ("/_leakwatch/holders.svg?process=web-1", "/_leakwatch/holders.dot?process=web-1"):
            self.webapp.get(address, status=403)
        for address in ("/leakwatch-look", "/leakwatch-dump"):
            self.webapp.post(address, {"process": "web-1", "kind": "retained"}, expect_errors=True, status="4*")
        assert self.taken == []
