"""A web worker of an instance, as the launcher starts it: ``python -m cubicweb_leakwatch.worker INSTANCE``.

It boots the whole application itself (a fork of a booted one would share its database connection), says that it is
ready once it has answered, serves until it is told to drain, and shuts the repository down in order.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cubicweb_leakwatch import probing
from cubicweb_leakwatch.booting import Boot
from cubicweb_leakwatch.errors import EXIT_CONFIGURATION, EXIT_DONE, LeakwatchError
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.room import read_cgroup_limit
from cubicweb_leakwatch.settings import USABLE_SHARE, Settings, read_settings

DEFAULT_THREADS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the instance named by the arguments; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 1:
        print("usage: python -m cubicweb_leakwatch.worker INSTANCE", file=sys.stderr)
        return EXIT_CONFIGURATION
    try:
        return serve_instance(words[0])
    except LeakwatchError as error:
        print(f"worker of {words[0]}: {error.message} ({error.hint})", file=sys.stderr)
        return error.exit_code


def serve_instance(appid: str) -> int:
    """Boot the instance and serve it until told to stop."""
    state = this_process()  # now: its age counts from here, not from the end of the boot
    from cubicweb.cwconfig import CubicWebConfiguration
    from cubicweb.pyramid import wsgi_application_from_cwconfig

    from cubicweb_leakwatch.connections import answering
    from cubicweb_leakwatch.recording.shared import is_shared
    from cubicweb_leakwatch.serve.worker import guard_limits, refuse_early, serve

    refuse_early(guard_limits(os.environ))
    config = CubicWebConfiguration.config_for(appid)
    write_session_secrets(config)
    boot = Boot(state)
    with ExitStack() as stack:
        config.repository = lambda vreg=None: booted(boot, config, vreg, stack)
        app = wsgi_application_from_cwconfig(config)
    repo = app.application.registry["cubicweb.repository"]
    if "LEAKWATCH_PROCESS" not in os.environ:  # no launcher: a service manager, or an orchestrator, starts us anew
        for name, value in own_limits(read_settings(config), read_cgroup_limit()).items():
            os.environ.setdefault(name, value)
    boot.confirm_later()
    try:
        serve(
            answering(app, repo) if is_shared(repo) else app,
            state=state,
            probe=probing.running(),
            threads=int(os.environ.get("LEAKWATCH_THREADS") or DEFAULT_THREADS),
            ready_check=lambda: answer_once(app, config, repo, database=not boot.without_database),
            settings=server_settings(config),
        )
    finally:
        repo.shutdown()
    return EXIT_DONE


def own_limits(settings: Settings, cgroup_limit: int | None) -> dict[str, str]:
    """Return the limits of a worker that serves alone, as a launcher would put them into its environment.

    They are the instance's options. Where no memory limit is set the worker may have four fifths of what its control
    group grants (bytes), for no successor stands beside it; without such a group it has none.
    """
    memory = settings.memory_limit or int(USABLE_SHARE * (cgroup_limit or 0))
    return {
        "LEAKWATCH_MEMORY_LIMIT": str(memory),
        "LEAKWATCH_MAX_REQUESTS": str(settings.max_requests or 0),
        "LEAKWATCH_MAX_AGE": str(settings.max_age_s or 0),
        "LEAKWATCH_DRAIN_TIMEOUT": str(settings.drain_timeout_s),
    }


def booted(boot: Boot, config: Any, vreg: Any, stack: ExitStack) -> Any:
    """Return the instance's repository, booted; ``boot`` reads along for as long as ``stack`` lasts."""
    from cubicweb.server.repository import Repository

    from cubicweb_leakwatch.connections import steady

    repo = Repository(config, vreg=vreg)
    steady(repo)
    stack.enter_context(boot.reading(repo))
    repo.bootstrap()
    return repo


def server_settings(config: Any) -> dict[str, Any]:
    """Return the waitress adjustments that ``cubicweb-ctl start`` uses."""
    return {
        "url_scheme": "https" if config["base-url"].startswith("https") else "http",
        "clear_untrusted_proxy_headers": True,
    }


def answer_once(app: Any, config: Any, repo: Any, *, database: bool = True) -> None:
    """Raise ``LeakwatchError`` unless the application answers a request and its database a query.

    The front page is asked for as well, so that the first visitor does not wait for what is loaded on first use; its
    status is the application's affair, which the worker that is to be replaced shares. Without a ``database``, because
    it is away, the one request must do.
    """
    status = visit(app, config, "/_leakwatch/livez")
    if status != 200:
        raise LeakwatchError(f"the application answered {status} to a first request", code="not-ready")
    if not database:
        return
    with repo.internal_cnx() as cnx:
        cnx.execute("Any X WHERE X is CWSource, X name 'system'")
    visit(app, config, "/")


def visit(app: Any, config: Any, path: str) -> int:
    """Return the status of a request made inside this process."""
    from webob import Request

    base = urlsplit(config["base-url"])
    prefix = base.path.rstrip("/") if config["receives-base-url-path"] else ""
    request = Request.blank(prefix + path, base_url=f"{base.scheme}://{base.netloc}")
    return int(request.get_response(app).status_int)


def write_session_secrets(config: Any) -> None:
    """Write ``pyramid.ini``, as ``cubicweb-ctl start`` does, where an old instance lacks it.

    Under a lock: two workers that each wrote their own secrets would not accept each other's sessions.
    """
    path = Path(config.apphome) / "pyramid.ini"
    if path.exists():
        return
    from cubicweb.pyramid.pyramidctl import _generate_pyramid_ini_file

    from cubicweb_leakwatch.probe.runtime import names_locked, runtime_dir

    with names_locked(runtime_dir(config.appdatahome)):
        if not path.exists():
            _generate_pyramid_ini_file(str(path))


if __name__ == "__main__":
    sys.exit(main())
