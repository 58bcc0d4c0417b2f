"""The shipped manifests and Dockerfile: what Kubernetes and Docker take, and true of the cube that they start."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cubicweb_leakwatch.commands.leak_collect import LeakCollect
from cubicweb_leakwatch.commands.leak_serve import LeakServe
from cubicweb_leakwatch.routes import HEALTH, METRICS

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
MANIFESTS = CONTRIB / "kubernetes" / "site.yaml"
DOCKERFILE = CONTRIB / "docker" / "Dockerfile"
ENTRYPOINT = ["cubicweb-ctl", "leak-serve", "site", "--bind", "0.0.0.0:8080"]


def program(name: str) -> str:
    """Return a program of the test requirements; skip where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed (test requirements)")
    return found


def documents() -> list[dict[str, Any]]:
    """Return the manifests."""
    return list(yaml.safe_load_all(MANIFESTS.read_text()))


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each container with its pod's specification."""
    for document in documents():
        if document["kind"] == "StatefulSet":
            pod = document["spec"]["template"]["spec"]
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                yield pod, container


def test_kubernetes_takes_the_manifests() -> None:
    """By its own schemas, with no property that it does not know."""
    command = [program("kubernetes-validate"), "--strict", "--quiet", str(MANIFESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_probes_ask_what_the_cube_answers() -> None:
    """Liveness by livez, readiness by readyz, on a port that the container names; Prometheus by our metrics."""
    for _pod, container in containers():
        ports = {port["name"] for port in container.get("ports", ())}
        for name, path in (("startup", "livez"), ("liveness", "livez"), ("readiness", "readyz")):
            probe = container.get(f"{name}Probe")
            if probe is not None:
                assert (probe["httpGet"]["path"], probe["httpGet"]["port"] in ports) == (HEALTH[path], True)
    (web,) = (each for each in documents() if each["metadata"]["name"] == "site-web" and each["kind"] == "StatefulSet")
    notes = web["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/path"] == METRICS
    assert HEALTH["livez"] in DOCKERFILE.read_text()


def test_pods_get_the_time_that_a_drain_takes() -> None:
    """The grace period is longer than preStop and the default drain together."""
    for pod, container in containers():
        seconds = int(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0, 0])[1])
        assert pod["terminationGracePeriodSeconds"] > seconds + 30


@pytest.mark.parametrize("command", [LeakServe, LeakCollect])
def test_commands_take_the_words_that_they_are_given(command: Any) -> None:
    """Those of the manifests and of the Dockerfile, after its entry point."""
    given = [[*ENTRYPOINT, "--workers", "2", "--no-scheduler"]]
    given += [[*(each.get("command") or ENTRYPOINT), *each.get("args", ())] for _pod, each in containers()]
    words = [line[2:] for line in given if line[1] == command.name]
    assert words
    for line in words:
        assert command(None)._parse(line).instance == "site"


def test_volumes_and_users_fit_together() -> None:
    """What is mounted exists, and the files of the image belong to the user that the pods run as."""
    for pod, container in containers():
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
        assert f"--uid {pod['securityContext']['runAsUser']} " in DOCKERFILE.read_text()


def test_docker_takes_the_dockerfile() -> None:
    """And hadolint, who knows what goes wrong in one, has nothing to say; the launcher is PID 1, without a shell."""
    done = subprocess.run([program("hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"ENTRYPOINT {ENTRYPOINT}".replace("'", '"') in DOCKERFILE.read_text()
