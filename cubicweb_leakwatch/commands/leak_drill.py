"""``leak-drill``: load the served instance through replacements and say what its clients noticed."""

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.csv_text import Table
from cubicweb_leakwatch.commands.options import Option, count
from cubicweb_leakwatch.commands.table import Column, render, words
from cubicweb_leakwatch.commands.terminal import Screen
from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_FAILED
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.serve.control import ask_launcher

COLUMNS = (
    words("REQUESTS"),
    Column("SENT"),
    Column("FAILED"),
    Column("P50 ms"),
    Column("P99 ms"),
    Column("MAX ms"),
    Column("LONGEST GAP ms"),
)
PARTS = (("all", "all"), ("inside", "during replacements"), ("outside", "before and after"))
CSV_COLUMNS = ("requests", "sent", "failed", "p50_ms", "p99_ms", "max_ms", "gap_ms")
DEFAULT_PATH = "/_leakwatch/livez"


class LeakDrill(Command):
    """Load the served instance through forced replacements and count what its clients noticed."""

    name = "leak-drill"
    has_csv = True
    own_options = (
        Option("--replacements", "how many workers to replace, one after the other", count, "N", default=5),
        Option("--rate", "new connections a second, beside the other clients", count, "N", default=50),
        Option("--seconds", "longest time the whole may take", count, "N", default=300),
        Option("--broken-successor", "have one more successor fail on purpose first"),
        Option("--path", "what the clients ask for; it must answer 200 to anybody", str, "PATH", default=DEFAULT_PATH),
    )
    examples = (
        ("cubicweb-ctl leak-drill mysite", "five replacements under 50 requests a second"),
        ("cubicweb-ctl leak-drill mysite --broken-successor --json", "with a successor that fails, figures as JSON"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return the figures; raises ``LeakwatchError`` when nothing is served, or not on this machine."""
        from cubicweb_leakwatch.serve.drill import DrillPlan, run_drill
        from cubicweb_leakwatch.serve.load import Mix

        directory = str(self.instance(asked).runtime_dir)
        address = reachable(ask_launcher(directory, "status")["listening"][0])
        mix = Mix(new=float(asked.rate), path=asked.path, slow_path=asked.path)
        plan = DrillPlan(asked.replacements, float(asked.seconds), asked.broken_successor, mix=mix)
        return run_drill(address, directory, plan).as_json()

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the verdict, then the figures, then what failed."""
        verdict = "no request failed" if not data["failed"] else f"{data['failed']} of {data['sent']} requests FAILED"
        yield f"{data['replaced']} workers replaced, {verdict}"
        yield from render(COLUMNS, [_row(title, data[part]) for part, title in PARTS], screen)
        for what, number in data["failures"].items():
            yield f"{number} failed, {clean(what)}"
        for restart in data["restarts"]:
            if restart["outcome"] != "replaced":
                yield f"{restart['process']}: {restart['outcome']}: {clean(restart['detail'] or '')}"

    def table(self, data: dict[str, Any], asked: Namespace) -> Table:
        """Return the figures of all requests, of those during replacements, and of the others."""
        return Table(CSV_COLUMNS, [{"requests": part, **data[part]} for part, _title in PARTS])

    def exit_code(self, data: dict[str, Any], asked: Namespace) -> int:
        """Return 1 when a client noticed, or not all were replaced."""
        return EXIT_FAILED if data["failed"] or data["replaced"] < asked.replacements else EXIT_DONE


def reachable(listening: str) -> tuple[str, int] | str:
    """Return where to connect: every address of the machine means the local one."""
    if listening.startswith("unix:"):
        return listening.removeprefix("unix:")
    host, _colon, port = listening.rpartition(":")
    return ({"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]")), int(port))


def _row(title: str, figures: dict[str, Any]) -> list[object]:
    return [title, *(figures[name] for name in ("sent", "failed", "p50_ms", "p99_ms", "max_ms", "gap_ms"))]
