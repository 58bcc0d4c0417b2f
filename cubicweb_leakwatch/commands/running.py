"""Telling why no process of an instance answers, or why none can be started."""

import contextlib
import os
from collections.abc import Iterator

from cubicweb_leakwatch.commands.instance import Instance, cubes_in_database, uses_leakwatch
from cubicweb_leakwatch.errors import ConfigurationError


@contextlib.contextmanager
def explained(instance: Instance) -> Iterator[None]:
    """Turn "no probe answers" into the reason that this instance gives for it."""
    try:
        yield
    except ConfigurationError as error:
        if error.code != "no-probe":
            raise
        raise _why(instance) from error


def require_cube(instance: Instance) -> None:
    """Raise ``ConfigurationError`` when the instance does not use the cube; the database is asked in doubt alone."""
    if not uses_leakwatch(instance) and "leakwatch" not in cubes_in_database(instance):
        raise ConfigurationError(
            f"{instance.name} does not use the cube leakwatch", hint=_add(instance), code="no-cube"
        )


def _add(instance: Instance) -> str:
    return f"add it with add_cube('leakwatch') in cubicweb-ctl shell {instance.name}, then restart"


def _why(instance: Instance) -> ConfigurationError:
    if instance.runtime_dir.is_dir() and not os.access(instance.runtime_dir, os.R_OK | os.X_OK):
        return ConfigurationError(
            f"the runtime directory {instance.runtime_dir} is closed to this user",
            hint="run this as the instance's user",
            code="permission",
        )
    if uses_leakwatch(instance):
        return ConfigurationError(
            f"no process of {instance.name} answers in {instance.runtime_dir}",
            hint=f"is it running? start it with: cubicweb-ctl leak-serve {instance.name}",
            code="no-probe",
        )
    return ConfigurationError(
        f"no process of {instance.name} answers, and it was created without the cube leakwatch",
        hint=_add(instance),
        code="no-cube",
    )
