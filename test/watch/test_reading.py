"""What may stand in a file of samples, and what is said of what may not."""

import gzip
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch import reading
from cubicweb_leakwatch.watch.__main__ import main
from cubicweb_leakwatch.watch.conclude import conclude_all
from cubicweb_leakwatch.watch.diagnose import as_text, diagnose
from cubicweb_leakwatch.watch.reading import UnreadableSamples, read, read_samples

from .traces import MIB, line, samples

GOOD = {"t": 1000.0, "rss": 5000}


def lines(*objects: Any) -> list[str]:
    """Return each object as a line of JSON."""
    return [json.dumps(data) + "\n" for data in objects]


def leaking(n: int = 200) -> list[dict[str, Any]]:
    """Return samples of a process that leaks 60 MiB, as they stand in a file."""
    more = line(n, 60 * MIB)
    return [s.as_json() for s in samples(n, process="web-1", rss=more, gc_objects=more / 400)]


def kind_of(*text: str) -> str:
    """Return the kind of the only process in the lines."""
    (finding,) = conclude_all(read_samples(text))
    return finding.kind


def test_a_line_a_sample_blank_lines_aside() -> None:
    """Unknown keys do no harm."""
    assert [s.rss for s in read_samples([*lines(GOOD), "\n", *lines({**GOOD, "later": [1]})])] == [5000, 5000]


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: {"ok": True, "instance": "x", "data": data}])
def test_a_whole_document_is_read_too(wrap: Any) -> None:
    """The output of leak-history --json can be given as it is, indented or not."""
    for indent in (None, 1):
        assert len(read_samples(json.dumps(wrap([GOOD, GOOD]), indent=indent).splitlines(keepends=True))) == 2


def test_looping_tasks_and_pressure_are_read_as_they_were_written() -> None:
    """A file of a scheduler names its task as the instance itself does; what a task left may be less than nothing."""
    told = {"app.poll": {"runs": 3, "blocks": -7, "malloc": 4096}}
    (sample,) = read_samples(lines({**GOOD, "tasks": told, "cgroup_pressure": 12.5}))
    assert (sample.tasks, sample.cgroup_pressure) == (told, 12.5)
    assert read(lines({**GOOD, "tasks": [1]})).ignored == {"'tasks' left out: no measurement": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "the input is empty"),
        (["\n", "  \n"], "the input is empty"),
        (["hello\n"], "line 1 is not JSON: 'hello'"),
        ([*lines(GOOD), "{broken\n", *lines(GOOD)], "line 2 is not JSON"),
        (["{}\n"], "'t' is missing"),
        (["3\n"], "a int instead of an object"),
        (lines({"t": 1000}), "'rss' is missing"),
        (lines({"t": 1.7e12, "rss": 5000}), "milliseconds"),
        (lines({"t": 1.0, "rss": "lots"}), "'rss' is no measurement"),
        (lines({"ok": False, "error": {}}), "'t' is missing"),
        (["[" * 100_000], "not JSON"),
        ([*lines(GOOD), *lines({"t": 1}) * 3], "3 of 4 lines are no samples"),
    ],
)
def test_what_holds_no_samples_is_refused_with_the_reason(text: list[str], message: str) -> None:
    """One sentence, and a hint with an example."""
    with pytest.raises(UnreadableSamples) as caught:
        read(text)
    assert message in caught.value.message and "rss" in caught.value.hint


def test_a_cut_off_last_line_is_left_out() -> None:
    """The file may still be written to."""
    found = read([*lines(GOOD), '{"t": 12'])
    assert len(found.samples) == 1 and found.ignored == {"cut-off last line": 1}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "true", '"12"', "1e400"])
def test_a_value_that_is_no_measurement_is_left_out_and_counted(value: str) -> None:
    """The rest of the sample counts; a sample without a good RSS does not."""
    bad = [f'{{"t": 1, "rss": 5, "fds": {value}}}\n', f'{{"t": 2, "rss": {value}}}\n']
    found = read([*bad, *lines(GOOD)])
    assert [s.fds for s in found.samples] == [None, None]
    assert found.ignored == {"'fds' left out: no measurement": 1, "skipped: 'rss' is no measurement": 1}


def test_bad_types_are_left_out() -> None:
    """A mapping of names to counts, or nothing."""
    found = read(lines({**GOOD, "types": [1]}, {**GOOD, "types": {"a.B": 3, "a.C": -1}}))
    assert [s.types for s in found.samples] == [None, {"a.B": 3}]


def test_the_order_of_the_lines_does_not_matter() -> None:
    """Nor do lines that came twice."""
    data = leaking() + leaking()[:50]
    random.Random(4).shuffle(data)
    assert kind_of(*lines(*data)) == "python-objects"


def test_a_clock_set_back_is_mended() -> None:
    """Half a day of samples written with a clock an hour slow is one history still."""
    data = leaking()
    for sample in data[120:]:
        sample["t"] -= 3600
    (finding,) = conclude_all(read_samples(lines(*data)))
    assert finding.kind == "python-objects" and finding.rate_bytes_per_h is not None
    assert 0.9 < finding.rate_bytes_per_h / (60 * MIB / (200 / 60)) < 1.1


def test_two_processes_without_names_are_told_apart_by_pid() -> None:
    """Interleaved lines of two pids are two processes, not a thousand restarts."""
    calm = [{**s.as_json(), "pid": 7} for s in samples(200)]
    leaky = [{**data, "pid": 8, "process": None} for data in leaking()]
    found = conclude_all(read_samples(lines(*itertools.chain(*zip(calm, leaky, strict=True)))))
    assert [(f.process, f.kind) for f in found] == [("7", "steady"), ("8", "python-objects")]


def test_missing_keys_do_no_harm() -> None:
    """Each line may know something else."""
    data = leaking()
    for index, sample in enumerate(data):
        del sample[("fds", "threads", "malloc_free", "garbage")[index % 4]]
    assert kind_of(*lines(*data)) == "python-objects"


def test_a_very_long_file_is_thinned_evenly_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alternating processes both keep their first and last days."""
    monkeypatch.setattr(reading, "_MOST_SAMPLES", 200)
    found = read_samples(f'{{"t": {i}, "rss": 5000, "process": "web-{i % 2}"}}\n' for i in range(10_000))
    assert len(found) <= 800
    for name in ("web-0", "web-1"):
        times = [s.t for s in found if s.process == name]
        assert times[0] < 10 and times[-1] > 9_950 and max(b - a for a, b in itertools.pairwise(times)) <= 32


def test_the_command_prints_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, one document in the documented shape; without, the sentence first."""
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(lines(*leaking(), {"t": 5, "rss": -1})))
    assert main(["diagnose", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] and document["data"][0]["kind"] == "python-objects"
    assert document["data"][0]["evidence"]["ignored"] == {"skipped: 'rss' is no measurement": 1}
    assert main(["diagnose", str(file)]) == 0
    assert capsys.readouterr().out.startswith("web-1: python-objects leak: +18.")


def test_errors_are_one_line_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file is a wrong argument, an unreadable one a failure; with --json they are told in the document."""
    assert main(["diagnose", str(tmp_path / "nope")]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert main(["diagnose", str(tmp_path / "binary"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unreadable-samples"


def test_a_directory_is_no_file_of_samples(tmp_path: Path) -> None:
    """It is refused by name."""
    with pytest.raises(ConfigurationError, match="cannot read"):
        diagnose(str(tmp_path))


@pytest.mark.parametrize("pack", [lambda text: b"\xef\xbb\xbf" + text, gzip.compress], ids=["mark", "gzip"])
def test_a_mark_of_the_encoding_and_a_packed_pipe_are_read(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file and from standard input alike."""
    path = tmp_path / "samples"
    path.write_bytes(pack("".join(f"{row}\n" for row in lines(*leaking())).encode()))
    with path.open() as piped:
        monkeypatch.setattr("sys.stdin", piped)
        assert diagnose("-") == diagnose(str(path))


def test_a_packed_file_is_read_whatever_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a damaged one is refused with a sentence."""
    packed = gzip.compress("".join(f"{row}\n" for row in lines(*leaking())).encode())
    (tmp_path / "samples").write_bytes(packed)
    (finding,) = diagnose(str(tmp_path / "samples"))
    assert finding.leak
    for damaged in (packed[:-30], packed[:40] + b"xyz" + packed[43:], b"\x1f\x8b"):
        (tmp_path / "samples").write_bytes(damaged)
        assert main(["diagnose", str(tmp_path / "samples")]) == 1
        assert "gzip" in capsys.readouterr().err


def test_every_kind_has_its_words() -> None:
    """Too few samples are said to be too few."""
    (finding,) = conclude_all(read_samples(lines(*leaking()[:5])))
    assert "too few" in as_text(finding)
