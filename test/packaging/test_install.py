"""The wheel, installed with today's newest releases of all it needs, gives a working instance on each Python."""

from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Built, run
from sites import Visitor, make_instance, served


@pytest.mark.timeout(420)
@pytest.mark.integration
def test_the_wheel_gives_a_working_instance(
    built: Built, interpreter: str, tmp_path: Path, make_environment: Callable[[Path, str], Path]
) -> None:
    """pip install, create an instance, serve it: it answers, and leak-status knows its worker."""
    python = make_environment(tmp_path / "env", interpreter)
    run(str(python), "-m", "pip", "install", "--quiet", str(built.wheel), cwd=tmp_path)
    instance = make_instance(tmp_path / "home", "leakwatch", programs=python.parent)
    with served(instance, "--no-scheduler") as site:
        page = Visitor(site.address).get("/")
        assert page.status == 200
        assert page.text.rstrip().endswith("</html>")
        assert site.names() == ["web-1"]
