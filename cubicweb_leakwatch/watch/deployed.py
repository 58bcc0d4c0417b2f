"""What a deployment did to a leak, as a sentence."""

from collections.abc import Mapping
from typing import Any

from cubicweb_leakwatch.watch.finding import iso_utc
from cubicweb_leakwatch.watch.sentences import Sentence, _

_EFFECTS = {
    "fixed": _("fixed by the deployment of %(deployed_at)s%(what)s"),
    "brought": _("brought by the deployment of %(deployed_at)s%(what)s"),
    "not fixed": _("not fixed by the deployment of %(deployed_at)s%(what)s"),
}
_RATES = {
    "fixed": _(
        "fixed by the deployment of %(deployed_at)s%(what)s: %(before_bytes_per_h)s before, %(after_bytes_per_h)s after"
    ),
    "brought": _(
        "brought by the deployment of %(deployed_at)s%(what)s: %(before_bytes_per_h)s before, "
        "%(after_bytes_per_h)s after"
    ),
    "not fixed": _(
        "not fixed by the deployment of %(deployed_at)s%(what)s: %(before_bytes_per_h)s before, "
        "%(after_bytes_per_h)s after"
    ),
}
_SINCE = _(
    "since the deployment of %(deployed_at)s%(what)s: %(before_bytes_per_h)s before, %(after_bytes_per_h)s after"
)


def effect_of(deployment: Mapping[str, Any]) -> str:
    """Return e.g. ``fixed by the deployment of …`` for what evidence tells of one; empty when it did nothing."""
    template = _EFFECTS.get(deployment["effect"])
    return Sentence(template, **_what(deployment)) if template else ""


def rates_of(deployment: Mapping[str, Any], after_bytes_per_h: float) -> Sentence:
    """Return the same with the rates of the leak before and after, in bytes an hour."""
    return Sentence(
        _RATES.get(deployment["effect"], _SINCE),
        **_what(deployment),
        before_bytes_per_h=float(deployment["rate_before_bytes_per_h"]),
        after_bytes_per_h=float(after_bytes_per_h),
    )


def _what(deployment: Mapping[str, Any]) -> dict[str, str]:
    text = deployment.get("text")
    return {"deployed_at": iso_utc(deployment["t"]), "what": f" ({text})" if text else ""}
