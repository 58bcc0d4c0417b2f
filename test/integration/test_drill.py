"""leak-drill on a real site: the proof that an operator can repeat."""

from pathlib import Path

import pytest
from sites import make_instance, served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_drill_on_a_served_site_notices_nothing(tmp_path: Path) -> None:
    """Two replacements and a successor that fails on purpose: no client of any kind is failed."""
    instance = make_instance(tmp_path / "home", "leakwatch")
    with served(instance, "--workers", "1", "--no-scheduler") as site:
        words = ("--replacements", "2", "--rate", "10", "--seconds", "120", "--broken-successor")
        data = site.ask("leak-drill", *words)
    assert data["failures"] == {}
    assert [restart["outcome"] for restart in data["restarts"]] == ["successor-failed", "replaced", "replaced"]
    assert data["inside"]["sent"] > 0
