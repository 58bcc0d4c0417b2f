"""What waits for the database outlives its collector."""

from pathlib import Path

from cube_data import NOON, measured, sample

from cubicweb_leakwatch.recording import waiting


def test_what_waits_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Process, samples and note, from a file that its user alone reads; afterwards it is gone."""
    kept = [
        (measured(sample(types={"a.B": 3}), sample(t=NOON + 120), versions={"web": "1"}), None),
        (measured(sample(t=NOON + 60), name="scheduler", pid=7), "before the deployment"),
    ]
    waiting.keep(tmp_path, kept)
    assert waiting.read(tmp_path) == kept
    assert (tmp_path / waiting.FILE).stat().st_mode & 0o777 == 0o600
    waiting.forget(tmp_path)
    waiting.forget(tmp_path)
    assert waiting.read(tmp_path) == []


def test_a_file_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    """Half a file, or one of another shape, keeps no collector from starting."""
    for text in ("", "[", "{}", "[1]", '[{"identity": {}, "samples": [], "note": null}]'):
        (tmp_path / waiting.FILE).write_text(text)
        assert waiting.read(tmp_path) == []
