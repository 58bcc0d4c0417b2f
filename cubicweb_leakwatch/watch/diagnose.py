"""``leak-diagnose``: findings from a file of samples, without an instance or a database."""

import contextlib
import dataclasses
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from typing import Any, TextIO

# The matrices are small: threads would only wait for one another, for seconds on a busy host. NumPy reads this once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.conclude import conclude_all
from cubicweb_leakwatch.watch.finding import Finding, iso_utc
from cubicweb_leakwatch.watch.reading import UnreadableSamples, read
from cubicweb_leakwatch.watch.units import format_bytes, format_rate

_GZIP = b"\x1f\x8b"


def diagnose(path: str) -> list[Finding]:
    """Return a finding for each process in a file of samples, which may be packed by gzip (``-`` is standard input).

    Raises ConfigurationError when the file cannot be opened, UnreadableSamples when it holds no samples.
    """
    try:
        with _opened(path) as lines:
            reading = read(lines)
    except UnicodeDecodeError as error:
        raise UnreadableSamples(f"{path} is not text in UTF-8", "give a file of one JSON object a line") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableSamples(f"{path} is packed by gzip and damaged: {error}", "pack the samples again") from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", "name a file of samples") from error
    found = conclude_all(reading.samples)
    if not reading.ignored:
        return found
    return [dataclasses.replace(f, evidence={**f.evidence, "ignored": reading.ignored}) for f in found]


@contextlib.contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    """Open a file of text, unpacking it when it is packed by gzip, whatever its name."""
    if path == "-":
        yield _text(sys.stdin.buffer)
        return
    with open(path, "rb") as file, _text(file) as lines:  # noqa: PTH123 - a path as the caller wrote it
        yield lines


def _text(file: Any) -> TextIO:
    packed = file.peek(2)[:2] == _GZIP
    source = gzip.GzipFile(fileobj=file) if packed else file
    return io.TextIOWrapper(source, encoding="utf-8-sig")  # some editors write a mark of the encoding first


def as_text(finding: Finding) -> str:
    """Return a finding for a terminal: the sentence first, then what it rests on."""
    rows = [f"{finding.process}: {finding.advice}"]
    if finding.rate_bytes_per_h is not None and finding.kind != "not-enough-data":
        low, high = format_rate(finding.rate_low), format_rate(finding.rate_high)
        rows.append(f"  rate        {format_rate(finding.rate_bytes_per_h)} (95 %: {low} to {high})")
    if finding.bytes_per_request is not None:
        rows.append(f"  a request   {format_bytes(finding.bytes_per_request)}")
    if finding.leak and finding.since is not None:
        rows.append(f"  since       {iso_utc(finding.since)}")
    rows += [f"  type        {c.type}: {c.objects_per_h:+.0f} objects/h" for c in finding.culprits]
    rows += [f"  view        {v.view}: {v.share:.0%} of the growth" for v in finding.views]
    rows.append(f"  confidence  {finding.confidence:.0%}: {finding.evidence.get('why', '')}")
    rows += [f"  note        {note}" for note in finding.evidence.get("notes", ())]
    rows += [f"  left out    {what} ({count} times)" for what, count in finding.evidence.get("ignored", {}).items()]
    return "\n".join(rows)
