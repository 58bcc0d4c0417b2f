"""What it costs to start a command: processor time from start to end, of ``leakwatch`` beside ``cubicweb-ctl``.

    python benchmarks/start_up.py INSTANCE [--rounds N]

The instance is served meanwhile; the lowest of some rounds counts, for whatever else runs only adds to it. Python
itself, which does nothing, stands beside.
"""

import argparse
import resource
import subprocess
import sys
import sysconfig
import time

COMMANDS = (
    ("leakwatch", "--version"),
    ("leakwatch", "leak-status", "{}"),
    ("leakwatch", "leak-status", "{}", "--check"),
    ("leakwatch", "leak-gc", "{}", "--types-only"),
    ("leakwatch", "leak-restart", "{}", "--all", "--dry-run"),
    ("leakwatch", "leak-metrics", "{}"),
    ("cubicweb-ctl", "leak-status", "{}"),
    ("cubicweb-ctl", "list"),
)


def cost(words: list[str]) -> tuple[float, float]:
    """Return the processor time and the time of the clock that a command takes, in seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return used, time.monotonic() - begun


def main() -> None:
    """Print a row a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instance")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    scripts = sysconfig.get_path("scripts")
    print("| command | processor s | clock s |\n|---|---|---|")
    for program, *words in ((sys.executable, "-c", "pass"), *COMMANDS):
        path = program if program == sys.executable else f"{scripts}/{program}"
        typed = [word.format(asked.instance) for word in words]
        used, took = min(cost([path, *typed]) for _ in range(asked.rounds))
        print(f"| `{program.rpartition('/')[2]} {' '.join(typed)}` | {used:.2f} | {took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
