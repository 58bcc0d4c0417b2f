"""What would keep the launcher from starting, found out before the plan is told: a refusal is one line."""

from __future__ import annotations

import os

from cubicweb_leakwatch.serve.runtime import Runtime
from cubicweb_leakwatch.serve.sockets import PATIENCE_AFTER_CRASH_S, close_listeners, forget_path, open_listeners
from cubicweb_leakwatch.serve.spec import LaunchSpec


def check_start(spec: LaunchSpec) -> None:
    """Raise LeakwatchError when another launcher serves the instance, or an address cannot be listened on.

    Nothing stays behind: the lock and the sockets are taken, and given back for the launcher to take.
    """
    runtime = Runtime(spec.runtime_dir, spec.instance)
    try:
        if "LISTEN_FDS" not in os.environ:
            _try_addresses(spec, PATIENCE_AFTER_CRASH_S if runtime.unclean else 0.0)
    finally:
        if runtime.unclean:
            os.close(runtime.lock_fd)  # what is written in it tells the launcher the same
        else:
            runtime.release()


def _try_addresses(spec: LaunchSpec, patience_s: float) -> None:
    close_listeners(open_listeners(spec.bind, socket_mode=spec.socket_mode, patience_s=patience_s))
    for address in spec.bind:
        forget_path(address)
