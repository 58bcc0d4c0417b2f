"""Opening the repository of an instance for a command that reads or writes what was recorded."""

import contextlib
from collections.abc import Iterator
from typing import Any

from cubicweb_leakwatch.commands.instance import Instance
from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError


@contextlib.contextmanager
def connection(instance: Instance) -> Iterator[Any]:
    """Give an internal connection to the instance's repository, which is loaded for it and shut down after.

    Raises ``LeakwatchError`` (code ``repository``) when it cannot be opened, ``ConfigurationError`` (``no-cube``) when
    the instance does not use the cube.
    """
    from cubicweb.cwconfig import CubicWebConfiguration

    from cubicweb_leakwatch.connections import limit_connecting

    limit_connecting()
    config = CubicWebConfiguration.config_for(instance.name)
    config.init_log("ERROR")
    try:
        repo = config.repository()
    except Exception as error:  # whatever a database driver, a configuration or a cube may raise
        raise LeakwatchError(
            f"the repository of {instance.name} cannot be opened: {_one_line(error)}",
            hint="is its database running, and the instance migrated (cubicweb-ctl upgrade)?",
            code="repository",
        ) from error
    try:
        if "leakwatch" not in config.cubes():
            raise ConfigurationError(
                f"{instance.name} does not use the cube leakwatch",
                hint=f"add it with add_cube('leakwatch') in cubicweb-ctl shell {instance.name}",
                code="no-cube",
            )
        with repo.internal_cnx() as cnx:
            yield cnx
    finally:
        repo.shutdown()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
