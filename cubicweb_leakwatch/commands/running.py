"""Telling why no process of an instance answers."""

import contextlib
from collections.abc import Iterator

from cubicweb_leakwatch.commands.instance import Instance, uses_leakwatch
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


def _why(instance: Instance) -> ConfigurationError:
    if uses_leakwatch(instance):
        return ConfigurationError(
            f"no process of {instance.name} answers in {instance.runtime_dir}",
            hint=f"is it running? start it with: cubicweb-ctl leak-serve {instance.name}",
            code="no-probe",
        )
    return ConfigurationError(
        f"no process of {instance.name} answers, and it was created without the cube leakwatch",
        hint=f"add it with add_cube('leakwatch') in cubicweb-ctl shell {instance.name}, then restart",
        code="no-cube",
    )
