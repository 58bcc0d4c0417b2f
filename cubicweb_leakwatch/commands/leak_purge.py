"""``leak-purge``: thin or drop old records."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.options import Option, lasting
from cubicweb_leakwatch.commands.repository import connection
from cubicweb_leakwatch.commands.terminal import Screen
from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.thinning import Keep
from cubicweb_leakwatch.watch.units import format_duration


class LeakPurge(Command):
    """Thin the recorded snapshots as the instance's options say, or drop what is older than a given age."""

    name = "leak-purge"
    own_options = (
        Option(
            "--keep", "drop all that is older than this, e.g. 30d", lasting, "DURATION",
            default_text="thin as option leakwatch-keep says",
        ),
        Option("--dry-run", "say how many snapshots would go, and drop none"),
    )  # fmt: skip
    examples = (
        ("cubicweb-ctl leak-purge mysite --dry-run", "how much would thinning save?"),
        ("cubicweb-ctl leak-purge mysite --keep 30d", "drop what is older than a month"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return how many snapshots there were and how many went."""
        from cubicweb_leakwatch.recording import keeping
        from cubicweb_leakwatch.settings import read_settings

        with connection(self.instance(asked)) as cnx:
            keep = read_settings(cnx.repo.config).keep
            if asked.keep is not None:
                keep = Keep(asked.keep, asked.keep, asked.keep)
            if keep is None:
                raise ConfigurationError("the option leakwatch-keep keeps all", hint="give --keep 30d", code="usage")
            ((before,),) = cnx.execute("Any COUNT(S) WHERE S is MemorySnapshot").rows
            write = _writer(cnx, keep_changes=not asked.dry_run)
            gone = keeping.thin_all(write, keep, time.time()).gone
        return {"snapshots": before, "gone": gone, "dry_run": asked.dry_run}

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Say it in a sentence."""
        what = "would go" if data["dry_run"] else "went"
        rule = "as leakwatch-keep says" if asked.keep is None else f"older than {format_duration(asked.keep)}"
        return [f"{data['gone']:,} of {data['snapshots']:,} snapshots {what}, {rule}"]


def _writer(cnx: Any, *, keep_changes: bool) -> Callable[[Callable[[Any], Any]], Any]:
    """Return what runs a function in a transaction of its own, which is kept or not."""

    def write(act: Callable[[Any], Any]) -> Any:
        result = act(cnx)
        if keep_changes:
            cnx.commit()
        else:
            cnx.rollback()
        return result

    return write
