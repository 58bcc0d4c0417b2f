"""What is shipped for monitoring systems: alert rules and a dashboard, which name no metric that does not exist."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from metric_data import figures

from cubicweb_leakwatch.metrics.families import FAMILIES
from cubicweb_leakwatch.metrics.text import prometheus

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
RULES = CONTRIB / "prometheus" / "leakwatch.rules.yml"
TESTS = CONTRIB / "prometheus" / "leakwatch.rules.test.yml"
DASHBOARD = CONTRIB / "grafana" / "leakwatch.json"
MANUAL = CONTRIB.parent / "docs" / "monitoring.rst"

SUFFIX = {"gauge": "", "counter": "_total", "info": "_info"}
TOLD = {family.name + SUFFIX[family.kind]: family for family in FAMILIES}


def expressions() -> list[str]:
    """Return the PromQL of the rules and of the dashboard."""
    rules = re.findall(r"^ *expr: (.+)$", RULES.read_text(), re.MULTILINE)
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    notes = [note["expr"] for note in dashboard["annotations"]["list"]]
    choices = [choice["query"]["query"] for choice in dashboard["templating"]["list"] if choice["type"] == "query"]
    return [*rules, *panels, *notes, *choices]


@pytest.mark.parametrize("page", [RULES, DASHBOARD, MANUAL, TESTS], ids=lambda page: page.name)
def test_every_metric_that_is_named_exists(page: Path) -> None:
    """With the suffix that Prometheus knows it by."""
    names = set(re.findall(r"\bleakwatch_[a-z_]+\b", page.read_text()))
    assert names
    assert names - {"leakwatch_mysite"} - set(TOLD) == set()


def test_the_manual_lists_every_metric() -> None:
    """With its labels."""
    text = MANUAL.read_text()
    assert [name for name in TOLD if f"``{name}``" not in text] == []


def test_every_label_that_is_named_exists() -> None:
    """What is selected or summed by is a label of a metric in the same expression, or one of Prometheus' own."""
    for expression in expressions():
        names = set(re.findall(r"\bleakwatch_[a-z_]+\b", expression))
        known = {label for name in names for label in TOLD[name].labels} | {"instance", "job"}
        used = set(re.findall(r"(\w+)(?:=~|=|!=)\"", expression))
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            used |= {label.strip() for label in group.split(",")}
        assert used <= known, expression


def test_promtool_finds_nothing_to_say(needs_program: Callable[[str, str], str]) -> None:
    """The rules are rules, they fire when they should, and our text is what Prometheus' own linter approves of."""
    promtool = needs_program("promtool", "prometheus")
    for command in (["check", "rules", RULES], ["test", "rules", TESTS]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [promtool, "check", "metrics"], input=prometheus(figures()), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_promtool_reads_every_expression(needs_program: Callable[[str, str], str], tmp_path: Path) -> None:
    """The dashboard's PromQL too, by way of rules made of it."""
    promtool = needs_program("promtool", "prometheus")
    rules = [
        {"record": f"r{number}", "expr": expression.replace("$site", "x")}
        for number, expression in enumerate(expressions())
        if not expression.startswith("label_values")
    ]
    path = tmp_path / "dashboard.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
