"""Finding an instance by its name: its directories, without loading it, its cubes or its database."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.probe.runtime import runtime_path


@dataclass(frozen=True)
class Instance:
    """One instance on this host: its name, the directories of its configuration, its data and its sockets."""

    name: str
    home: Path
    data_home: Path
    runtime_dir: Path


def instances_dir() -> Path:
    """Return the directory of the instances, found as ``CubicWebConfiguration.instances_dir`` finds it."""
    if _mode() == "user":
        default = "~/etc/cubicweb.d"
    else:
        default = "/etc/cubicweb.d" if _prefix() == "/usr" else f"{_prefix()}/etc/cubicweb.d"
    return Path(os.environ.get("CW_INSTANCES_DIR", default)).expanduser().absolute()


def data_home(name: str) -> Path:
    """Return the data directory of the instance ``name``, as the ``appdatahome`` of its configuration."""
    if _mode() == "user":
        default = str(instances_dir())
    else:
        default = "/var/lib/cubicweb/instances" if _prefix() == "/usr" else f"{_prefix()}/var/lib/cubicweb/instances"
    return Path(os.environ.get("CW_INSTANCES_DATA_DIR", default)).absolute() / name


def _mode() -> str:
    mode = os.environ.get("CW_MODE", "user" if "VIRTUAL_ENV" in os.environ else "system")
    if mode not in ("user", "system"):
        raise ConfigurationError(f"CW_MODE is {mode!r}", hint="it is either user or system", code="bad-mode")
    return mode


def _prefix() -> str:
    return os.environ.get("CW_INSTALL_PREFIX", sys.prefix)


def find_instance(name: str) -> Instance:
    """Return the instance called ``name``; CubicWeb, whose configuration takes half a second to load, is not.

    Raises ``ConfigurationError`` (code ``unknown-instance``) naming those that there are.
    """
    directory = instances_dir()
    home = directory / name
    if not name or Path(name).name != name or not _is_directory(home):
        raise ConfigurationError(
            f"no instance {name!r} in {directory}", hint=_known(directory), code="unknown-instance"
        )
    data = data_home(name)
    return Instance(name, home, data, runtime_path(data))


def _is_directory(path: Path) -> bool:
    """Say whether a directory is there; raises ``ConfigurationError`` where we may not even look."""
    try:
        return path.is_dir()
    except PermissionError as error:
        raise ConfigurationError(
            f"cannot look into {path.parent}: {error.strerror}", "run this as the instance's user", "permission"
        ) from error
    except OSError:  # a name longer than any file's
        return False


def instance_names() -> list[str]:
    """Return the names of the instances on this host; none where their directory cannot be read."""
    try:
        return sorted(clean(entry.name) for entry in instances_dir().iterdir() if entry.is_dir())
    except OSError:
        return []


def _known(directory: Path) -> str:
    names = instance_names()
    if not names and not directory.is_dir():
        return "name the directory of the instances by CW_INSTANCES_DIR, or choose CW_MODE=user or system"
    if not names:
        return "there is none; another directory of instances is named by CW_INSTANCES_DIR"
    return f"there are: {', '.join(names)}"


def uses_leakwatch(instance: Instance) -> bool:
    """Say whether the instance was created with the cube, itself or through a cube that depends on it.

    Only the file of its creation is read: a cube added later stands in the database alone. A Python without CubicWeb,
    as Debian's may be, cannot tell what cubes depend on, and believes it.
    """
    try:
        from cubicweb.cwconfig import CubicWebConfiguration
    except ModuleNotFoundError:
        return True

    try:
        listed = (instance.home / "bootstrap_cubes").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    cubes = [part.strip() for line in listed if not line.startswith("#") for part in line.split(",") if part.strip()]
    try:
        return "leakwatch" in CubicWebConfiguration.expand_cubes(cubes)
    except Exception:  # a listed cube that is not installed: what it depends on cannot be told
        return "leakwatch" in cubes


def cubes_in_database(instance: Instance) -> list[str]:
    """Return the cubes that the instance uses, as its database tells; this loads its repository, which takes a second.

    Raises ``ConfigurationError`` when it cannot be told.
    """
    from cubicweb.cwconfig import CubicWebConfiguration

    config = CubicWebConfiguration.config_for(instance.name)
    config.quick_start = True  # neither views nor a check of versions: the question is which cubes there are
    try:
        repo = config.repository()
    except Exception as error:
        raise ConfigurationError(
            f"the database of {instance.name} does not say which cubes it uses: {error}", code="database"
        ) from error
    try:
        return list(repo.get_cubes())
    finally:
        repo.shutdown()


def instance_named(name: str | None) -> str | None:
    """Return the instance that was named, or the one that the environment names."""
    return name or os.environ.get("CW_INSTANCE") or None
