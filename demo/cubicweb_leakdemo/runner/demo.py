"""One run of the demo: make the instance, serve it, load it, and ask leakwatch what it sees."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import processes, show, traffic
from .instance import HOST, CommandFailed, Instance
from .judge import Result, judge

WORKERS = 2
REQUESTS_A_SECOND = 10.0
PROGRESS_EVERY_S = 10.0
ASK_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Settings:
    """How one run goes: ``seconds`` None runs until Ctrl-C; ``polls`` handlers leak a second, ``at_most`` in all."""

    home: Path
    port: int
    seconds: float | None = None
    memory_limit: str = "100MiB"
    polls: int = 20
    at_most: int = 2000


@dataclass
class Demo:
    """What runs: the site, the repository that it polls, and the traffic."""

    settings: Settings
    say: Callable[[str], None]

    def run(self) -> Result | None:
        """Return what was found after ``settings.seconds``, or None when Ctrl-C ended it; nothing is left running."""
        with ExitStack() as stack:
            self._start(stack)
            try:
                self._follow()
            except KeyboardInterrupt:
                self.say("\nending…")
                self.say(show.running_count(self._age(), self.traffic.stop()))
                return None
            return self._result()

    def _start(self, stack: ExitStack) -> None:
        self.logs = self.settings.home.parent / f"{self.settings.home.name}-logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.say("making the instance…")
        url = self._start_repository(stack)
        self.instance = Instance(self.settings.home, self.settings.port, options=self._options(url))
        self.instance.create()
        shell_lines = self.settings.home / "environment.sh"
        shell_lines.write_text(self.instance.shell_lines())
        self._start_site(stack)
        self.say(show.where_to_look(self.instance, shell_lines))
        self.begun = time.monotonic()
        self.traffic = traffic.Traffic(HOST, self.settings.port, path_of, REQUESTS_A_SECOND)
        self.traffic.start()
        stack.callback(self.traffic.stop)

    def _options(self, url: str) -> dict[str, str]:
        return {
            "leakdemo-repository-url": url,
            "leakdemo-polls": str(self.settings.polls),
            "leakdemo-poll-at-most": str(self.settings.at_most),
            "leakwatch-interval": "5s",
            # The demo is about seeing restarts; a real site wants fewer.
            "leakwatch-restart-budget": "120/h",
        }

    def _start_repository(self, stack: ExitStack) -> str:
        log = self.logs / "repository.log"
        log.unlink(missing_ok=True)
        folder = self.logs / "repository"
        command = [sys.executable, "-m", "cubicweb_leakdemo.repository", str(folder)]
        self.repository = processes.start("the repository", command, dict(os.environ), log)
        stack.callback(self.repository.stop)
        processes.wait_until(lambda: "http" in log.read_text(), "starting the repository", self.repository)
        return log.read_text().split()[-1]

    def _start_site(self, stack: ExitStack) -> None:
        log = self.logs / "leak-serve.log"
        log.unlink(missing_ok=True)
        command = self.instance.command(
            "leak-serve",
            self.instance.name,
            "--workers",
            str(WORKERS),
            "--memory-limit",
            self.settings.memory_limit,
        )
        self.say("starting the site…")
        self.site = processes.start("leak-serve", command, self.instance.environment(), log)
        stack.callback(self.site.stop)
        processes.wait_until(self._answers, "starting the site", self.site)

    def _answers(self) -> bool:
        return traffic.send(HOST, self.settings.port, "/", late_s=10.0).kind == traffic.ANSWERED

    def _age(self) -> float:
        return time.monotonic() - self.begun

    def _follow(self) -> None:
        end = self.settings.seconds
        while end is None or self._age() < end:
            time.sleep(PROGRESS_EVERY_S if end is None else max(0.0, min(PROGRESS_EVERY_S, end - self._age())))
            self.site.check()
            self.repository.check()
            self.say(show.running_count(self._age(), self.traffic.count()))

    def _result(self) -> Result:
        reports = self._ask("leak-gc", "--process", "scheduler")
        count = self.traffic.stop()
        return judge(reports, self._restarts(), count)

    def _ask(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        output = self.instance.run(command, self.instance.name, *arguments, "--json", timeout_s=ASK_TIMEOUT_S)
        data: list[dict[str, Any]] = json.loads(output)["data"]
        return data

    def _restarts(self) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "cubicweb_leakdemo.runner.records", self.instance.name]
        done = subprocess.run(
            command, env=self.instance.environment(), capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise CommandFailed(f"reading the recorded restarts failed:\n{done.stderr}")
        restarts: list[dict[str, Any]] = json.loads(done.stdout)
        return restarts


def path_of(number: int) -> str:
    """Return the page that request ``number`` asks for: the front page, then a revision not seen before, and so on."""
    return "/" if number % 2 else f"/?vid=leakdemo-changeset&revision={number // 2}"
