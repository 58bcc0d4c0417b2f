"""The launcher's own memory over thousands of restarts: ``python benchmarks/restart/growth.py [--restarts N]``.

The workers do nothing but become ready, so that restarts follow each other as fast as processes start. Prints resident
KiB, descriptors and children at some of them; fails beyond 100 KiB of growth after the hundredth.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cubicweb_leakwatch.serve.control import LauncherError, ask_launcher
from cubicweb_leakwatch.serve.run import launcher_command
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec

FIRST, TOLERANCE_KIB = 100, 100
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import os, signal
from cubicweb_leakwatch.serve.sdnotify import notify
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
notify(os.environ["NOTIFY_SOCKET"], READY=1)
while True:
    signal.pause()
"""


def main():
    """Restart, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=2000, help="how many (2000)")
    restarts = parser.parse_args().restarts
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "worker.py"
        script.write_text(WORKER)
        package = str(Path(__file__).resolve().parents[2])
        child = Child(command=(sys.executable, "-I", "-S", str(script), package), guards_itself=True)
        spec = LaunchSpec(instance="growth", runtime_dir=f"{folder}/rt", bind=("127.0.0.1:0",), web=child)
        return measure(spec, restarts)


def measure(spec, restarts):
    """Return the exit code."""
    command = launcher_command(spec)
    log = Path(spec.runtime_dir).with_name("launcher.log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, pass_fds=[int(command[6])], stderr=output)
    try:
        wait_until_serving(spec.runtime_dir)
        rss = {}
        for number in range(1, restarts + 1):
            restart(spec.runtime_dir)
            if number in (1, 10, FIRST) or number % 500 == 0 or number == restarts:
                rss[number] = figures(process.pid, number)
    except LauncherError:
        print(log.read_text()[-3000:], f"exit code {process.poll()}", sep="\n")
        raise
    finally:
        process.terminate()
        process.wait(20)
    growth = rss[restarts] - rss[min(FIRST, restarts)]
    print(f"growth from restart {min(FIRST, restarts)} to {restarts}: {growth} KiB")
    return int(growth > TOLERANCE_KIB)


def wait_until_serving(runtime_dir):
    """Wait for the first worker."""
    while True:
        try:
            if any(row["state"] == "serving" for row in ask_launcher(runtime_dir, "status")["processes"]):
                return
        except LauncherError:
            pass
        time.sleep(0.05)


def restart(runtime_dir):
    """Force one replacement and wait for its end."""
    wish = ask_launcher(runtime_dir, "restart", process="web-1", reason="growth", by="benchmark")["requested"][0]["id"]
    while not any(row["id"] == wish and row["stage"] == "done" for row in records(runtime_dir, wish)):
        time.sleep(0.005)


def records(runtime_dir, wish):
    """Return the records from this one on: the counter before it is asked after."""
    origin, number = wish.rsplit("-", 1)
    return ask_launcher(runtime_dir, "restarts", after=f"{origin}-{int(number) - 1:06d}")["restarts"]


def figures(pid, number):
    """Print memory, descriptors and children; return the memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = int(status[status.index("VmRSS:") :].split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    print(f"after {number:5} restarts: {rss} KiB, {descriptors} descriptors, {len(children)} children", flush=True)
    return rss


if __name__ == "__main__":
    sys.exit(main())
