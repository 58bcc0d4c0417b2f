"""``leak-collect``: the looping task by itself."""

import threading
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.options import Option
from cubicweb_leakwatch.commands.repository import connection
from cubicweb_leakwatch.commands.terminal import Screen
from cubicweb_leakwatch.errors import EXIT_DONE, ConfigurationError
from cubicweb_leakwatch.plain_text import clean


class LeakCollect(Command):
    """Record snapshots of this host's processes again and again, for a host that runs no scheduler."""

    name = "leak-collect"
    own_options = (Option("--once", "do one round, say what was recorded, and end"),)
    examples = (
        ("cubicweb-ctl leak-collect mysite", "in the foreground, until Ctrl-C; for a service manager"),
        ("cubicweb-ctl leak-collect mysite --once", "one round, for cron"),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Do one round; return ``recorded``, the names of the processes."""
        with connection(self.instance(asked)) as cnx:
            done = self._collector(cnx).collect()
        self.warnings = [failure["message"] for failure in done["failures"]]
        return {"recorded": done["recorded"]}

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Name the processes."""
        return [f"recorded: {clean(', '.join(data['recorded'])) or 'no process answers'}"]

    def run(self, asked: Namespace) -> int:
        """Do one round with ``--once``, else rounds at the instance's interval until a signal ends them."""
        if asked.once or asked.json:
            return super().run(asked)
        from cubicweb_leakwatch.connections import steady

        with connection(self.instance(asked)) as cnx:
            collector = self._collector(cnx)
            interval_s = collector.settings.interval_s
            if interval_s is None:
                raise ConfigurationError("the option leakwatch-interval is 0: nothing is to be recorded", code="usage")
            steady(cnx.repo)
            collector.arrange()
            waiting = threading.Event()
            while True:
                collector.round()
                waiting.wait(interval_s)
        return EXIT_DONE

    def _collector(self, cnx: Any) -> Any:
        from cubicweb_leakwatch.recording.collect import Collector
        from cubicweb_leakwatch.settings import read_settings

        return Collector(cnx.repo, read_settings(cnx.repo.config))
