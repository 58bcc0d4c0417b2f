"""The ``cubicweb-ctl leak-…`` commands: one module a command, named after it.

``cubicweb-ctl`` loads the plugins of every cube for each of its own commands: here nothing is imported before a command
is used.
"""

from importlib import import_module
from typing import Any


class Deferred:
    """Stands for a command until it is used; ``leak-gc`` is the class ``LeakGc`` of the module ``leak_gc``."""

    hidden = False

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self) -> Any:
        """Return the command's class."""
        module = import_module(f"{__name__}.{self.name.replace('-', '_')}")
        return getattr(module, "".join(part.capitalize() for part in self.name.split("-")))

    def __call__(self, logger: object = None) -> Any:
        """Return a command, ready to run."""
        return self.load()(logger)

    def short_description(self) -> str:
        """Return the purpose, for the list of commands."""
        return str(self.load().short_description())


COMMANDS = tuple(
    Deferred(f"leak-{name}")
    for name in (
        "serve",
        "status",
        "gc",
        "holders",
        "findings",
        "history",
        "snapshot",
        "restart",
        "drill",
        "dump",
        "analyze",
        "trace",
        "diagnose",
        "collect",
        "metrics",
        "purge",
        "doctor",
    )
)
"""Every command, the most needed first."""
