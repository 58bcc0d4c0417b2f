"""What a look into the process adds to a conclusion from samples: the holder, a truer kind, the owner of containers.

Imports nothing of CubicWeb and no NumPy.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cubicweb_leakwatch.watch.advice import advice_for
from cubicweb_leakwatch.watch.deployed import effect_of
from cubicweb_leakwatch.watch.finding import Culprit, Finding
from cubicweb_leakwatch.watch.sentences import Sentence, _, with_note

_MOST = 0.5
"""Share of the objects of a type, or of those that came since the growth began, that decides what is said of all."""

_WAITING_S = 6 * 3600.0
"""What has grown for so long, most of it trash, is not collected any more; no cache of CubicWeb's fills so long."""

_PLUMBING = ("builtins.", "collections.", "types.", "functools.", "weakref.", "_weakref.")
_FEWEST_IN_A_PILE = 50

_OF_PYTHON = ("python-objects", "python-memory")
_UNSEEN = {"native": "long", "python-memory": "short"}
"""What a look tells of objects that the collector does not see, by the kind that samples alone say."""


def refined(finding: Finding, look: Mapping[str, Any], now: float) -> Finding:
    """Return the finding with what ``look`` (the heap's report on what grows) says of its culprits.

    ``now`` is Unix seconds, and so is ``t`` in the look, when it was taken. A finding whose objects are kept by
    something known to end is no leak any more.
    """
    looked = look.get("t", now)
    held = _accounting(finding, look, looked)
    finding = _owned(finding, look) if held is None else _attributed(finding, held, grown_bytes(finding, looked))
    about = held or _about(finding, look)
    if about is None:
        return finding
    finding = dataclasses.replace(finding, holder=about["holder"])
    came = _grown(finding, about, looked)
    if finding.kind in _OF_PYTHON and _comes_back(about, came) and not _long_since(finding, now):
        waits = about.get("unreachable", 0) >= about.get("ending", 0)
        finding = dataclasses.replace(finding, kind="steady" if waits else "warming-up", seconds_to_limit=None)
        finding = _noted(finding, _("most of what grows waits for the collector, or lies in caches that have an end"))
    elif finding.kind == "python-objects" and about.get("unreached", 0) >= _MOST * came:
        finding = dataclasses.replace(finding, kind="uncollectable")
        finding = _noted(finding, _("no module, frame or thread reaches these objects, and yet they live"))
    known = about.get("known")
    if known:
        told = _("known: %(what_said)s (%(reference)s)")
        finding = _noted(finding, Sentence(told, what_said=known["sentence"], reference=known["reference"]))
        if known["harmless"]:
            finding = dataclasses.replace(finding, kind="warming-up")
    evidence = {**finding.evidence, "fingerprint": about["fingerprint"], "known": known}
    finding = dataclasses.replace(finding, evidence=evidence)
    return dataclasses.replace(finding, advice=advice_for(finding))


def deployed_sentence(finding: Mapping[str, Any]) -> str:
    """Return what the last deployment did to the leak, e.g. ``fixed by the deployment of …``; empty if there is none.

    ``finding`` is in the documented shape.
    """
    deployment = (finding.get("evidence") or {}).get("deployment")
    return effect_of(deployment) if deployment else ""


def _owned(finding: Finding, look: Mapping[str, Any]) -> Finding:
    """Name the class whose attributes the growing containers are, where no class of a program was named."""
    if finding.kind not in ("python-objects", "uncollectable"):
        return finding
    if any(not culprit.type.startswith(_PLUMBING) for culprit in finding.culprits):
        return finding
    for pile in look["piles"]:
        owner = pile["type"]
        if pile["objects"] >= _FEWEST_IN_A_PILE and not owner.startswith(_PLUMBING):
            objects_per_h = finding.culprits[0].objects_per_h if finding.culprits else 0.0
            return dataclasses.replace(finding, culprits=(Culprit(owner, objects_per_h), *finding.culprits))
    return finding


def grown_bytes(finding: Finding, now: float) -> float:
    """Return how much memory has grown since the finding's growth began; 0.0 where that is not known."""
    hours = max(0.0, now - finding.since) / 3600 if finding.since is not None else 0.0
    return (finding.rate_bytes_per_h or 0.0) * hours


def _accounting(finding: Finding, look: Mapping[str, Any], looked: float) -> dict[str, Any] | None:
    """Return who holds strings and the like that account for memory which the collector does not see, if someone does.

    Long ones come from malloc, as a C extension's memory does. What no module, frame or thread reaches is in no look.
    """
    held = max(look.get(_UNSEEN.get(finding.kind, ""), ()), key=lambda pile: pile["bytes"], default=None)
    grown = grown_bytes(finding, looked)
    return dict(held) if held is not None and 0 < _MOST * grown <= held["bytes"] else None


def _attributed(finding: Finding, held: Mapping[str, Any], grown: float) -> Finding:
    """Lay the growth to those strings; objects that somebody holds are no C extension's memory."""
    rate = finding.rate_bytes_per_h or 0.0
    culprit = Culprit(held["type"], rate * held["objects"] / held["bytes"], rate)
    finding = dataclasses.replace(finding, culprits=(culprit,))
    if finding.kind == "native":
        why = _("memory from malloc grows, and Python's own strings and the like take it")
        finding = dataclasses.replace(finding, kind="python-objects", evidence={**finding.evidence, "why": why})
    told = _("%(objects)s %(type)s account for %(share)s of the growth; held by %(holder)s")
    share = f"{min(1.0, held['bytes'] / grown):.0%}"
    what = {"objects": str(held["objects"]), "type": held["type"], "holder": held["holder"]}
    return _noted(finding, Sentence(told, **what, share=share))


def _about(finding: Finding, look: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the look says of the first culprit that is there."""
    found: dict[str, dict[str, Any]] = {pile["type"]: pile for pile in look["piles"]}
    found.update({about["type"]: about for about in look["types"]})
    return next((found[culprit.type] for culprit in finding.culprits if culprit.type in found), None)


def _grown(finding: Finding, about: Mapping[str, Any], now: float) -> float:
    """Return how many objects of a culprit came since the growth began, at most all there are."""
    rate = next((c.objects_per_h for c in finding.culprits if c.type == about["type"]), 0.0)
    hours = (now - finding.since) / 3600 if finding.since is not None else 0.0
    grown = rate * hours
    there = float(about.get("instances", about.get("objects", 0)))
    return min(there, grown) if grown > 0 else there


def _comes_back(about: Mapping[str, Any], came: float) -> bool:
    """Whether of a type as many objects as most of those that came will go by themselves, or have an end."""
    return bool(about.get("unreachable", 0) + about.get("ending", 0) >= _MOST * max(came, 1.0))


def _long_since(finding: Finding, now: float) -> bool:
    return finding.since is not None and now - finding.since > _WAITING_S


def _noted(finding: Finding, note: str) -> Finding:
    return dataclasses.replace(finding, evidence=with_note(finding.evidence, note))
