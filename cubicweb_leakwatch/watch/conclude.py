"""From the samples of a process to what leakwatch concludes about it.

A conclusion is about a *lineage*, a slot over its restarts. The newest life decides when it is long enough to; else it
is taken together with those before it, but never with those before a deployment, whose code was another.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.advice import advice_for
from cubicweb_leakwatch.watch.arithmetic import sen_slope
from cubicweb_leakwatch.watch.culprits import culprits_of, owner_of
from cubicweb_leakwatch.watch.deployed import rates_of
from cubicweb_leakwatch.watch.evidence import evidence_of
from cubicweb_leakwatch.watch.finding import LEAKS, Event, Finding
from cubicweb_leakwatch.watch.givenback import came_back
from cubicweb_leakwatch.watch.kinds import COUNTED, Verdict, judge
from cubicweb_leakwatch.watch.lives import in_order, lineages, split_lives
from cubicweb_leakwatch.watch.meters import RESOLUTIONS, SURE, Meters
from cubicweb_leakwatch.watch.sentences import Sentence, _, made_of, with_note
from cubicweb_leakwatch.watch.series import History, history_of, values_of
from cubicweb_leakwatch.watch.tasks import tasks_of
from cubicweb_leakwatch.watch.trend import Trend
from cubicweb_leakwatch.watch.views import views_of

Lives = list[list[Sample]]
LEAST_SAMPLES = 10
_FEW_SAMPLES = 20
_ALONE_SAMPLES = 60
_START_SAMPLES = 30
# What has grown since the start by less than this share of the level may still be the start for so many samples.
_SLIGHT_START, _SLIGHT_START_SAMPLES = 0.05, 120
_95 = 1.96
_MOST_LIVES = 6
_LEAST_LIFE = 3
_UNUSUAL = 1.5
_TOO_SOON = _("memory has grown since the start: a leak and a warm-up look alike so soon")


def conclude(samples: Sequence[Sample], *, limit: int | None = None, events: Sequence[Event] = ()) -> Finding:
    """Return the finding about one process from its samples (any order), ``limit`` being its memory limit in bytes.

    ``events`` are what happened to it; only deployments matter. Without samples the kind is ``not-enough-data``.
    """
    ordered = in_order(samples)
    lives = [life for life in split_lives(ordered) if len(life) >= _LEAST_LIFE]
    name = next((sample.process for sample in reversed(ordered) if sample.process), "")
    deployment = max((event for event in events if event.kind == "deployment"), key=lambda e: e.t, default=None)
    deployed = deployment.t if deployment else None
    current = _since(lives, deployed)
    if not _enough(current):
        return _unknown(name, len(ordered), _("too few samples"))
    case = _chosen(current)
    if len(case.meters.history.samples) < _FEW_SAMPLES and not case.verdict.settled:
        return _unknown(name, len(ordered), case.verdict.why)
    if case.leak and case.just_started:
        return _unknown(name, len(ordered), _TOO_SOON)
    finding = case.finding(name, _limit(ordered, limit))
    earlier = lives[: len(lives) - len(current)]
    if deployment is not None and _enough(earlier):
        finding = _compared(finding, _chosen(earlier), deployment)
    return dataclasses.replace(finding, advice=advice_for(finding))


def conclude_all(samples: Iterable[Sample], *, limit: int | None = None) -> list[Finding]:
    """Return a finding for each process among the samples, by name."""
    found = [
        dataclasses.replace(conclude(members, limit=limit), process=name) for name, members in lineages(samples).items()
    ]
    return sorted(found, key=lambda finding: finding.process)


@dataclasses.dataclass(frozen=True)
class _Case:
    """Meters with the verdict on them; ``trend`` is how memory grows, in bytes a second."""

    meters: Meters
    verdict: Verdict
    trend: Trend

    @property
    def leak(self) -> bool:
        return self.verdict.kind in LEAKS

    @property
    def just_started(self) -> bool:
        """Whether growth began with the process itself, and is so young, or so slight, that it may be its start."""
        history, rss = self.meters.history, self.meters.by_name["rss"]
        counted = self.verdict.meter in COUNTED  # of which memory is the least
        slight = not counted and self.meters.memory.trend.growth < _SLIGHT_START * rss.level
        since = self.meters.by_name[self.verdict.meter].trend.since
        began_with_it = since <= history.t[0] + 0.15 * float(np.ptp(history.t))
        young = len(history.samples) < (_SLIGHT_START_SAMPLES if slight else _START_SAMPLES)
        return young and int(history.life[-1]) == 0 and began_with_it

    def finding(self, process: str, limit: int | None) -> Finding:
        """Return the finding, without advice."""
        verdict, trend, meters = self.verdict, self.trend, self.meters
        grows = self.leak or verdict.kind == "fragmentation"
        # what surely grows and is said not to matter goes on at no rate
        expected = trend.rate * trend.growing if trend.growing <= SURE else 0.0
        meter = meters.by_name[verdict.meter]
        culprits = culprits_of(meters, trend, verdict.meter) if self.leak and verdict.kind != "native" else ()
        evidence = evidence_of(meters, verdict.meter, verdict.why)
        if grows and limit is not None:
            evidence["seconds_to_limit_95"] = _limit_interval(meters, trend, limit)
        return Finding(
            process=process,
            kind=verdict.kind,
            since=meter.trend.since if verdict.kind != "steady" else None,
            rate_bytes_per_h=(trend.rate if grows else expected) * 3600,
            rate_low=(trend.low if grows else min(0.0, trend.low)) * 3600,
            rate_high=(trend.high if grows else max(0.0, trend.high)) * 3600,
            bytes_per_request=_per_request(meters.history, trend) if grows else None,
            confidence=round(verdict.confidence, 3),
            culprits=culprits,
            views=(tasks_of(meters, trend) or views_of(meters, trend, culprits)) if self.leak else (),
            ceiling=_ceiling(meters, verdict) if verdict.kind == "plateau" else None,
            seconds_to_limit=_seconds_to_limit(meters, trend, limit, verdict),
            evidence=evidence,
        )


def _case(lives: Lives) -> _Case:
    """Judge process lives together."""
    meters = Meters(history_of(lives))
    verdict = judge(meters)
    trend = meters.memory_trend(verdict.meter)
    if verdict.kind in ("python-memory", "native") and trend.rate > 0:
        owner = owner_of(meters, trend, verdict.meter)
        if owner is not None:
            why = Sentence(_("objects of %(type)s grow with the memory"), type=owner)
            verdict = dataclasses.replace(verdict, kind="python-objects", why=why)
    return _Case(meters, verdict, trend)


def _enough(lives: Lives) -> bool:
    """Whether there are samples enough to judge these lives by."""
    return sum(len(life) for life in lives) >= LEAST_SAMPLES


def _since(lives: Lives, deployed: float | None) -> Lives:
    """Return the lives since the last deployment (unix seconds); the life it happened in counts as since."""
    if deployed is None:
        return lives
    return [life for life in lives if life[-1].t > deployed and (life[0].t >= deployed - 60 or life is lives[-1])]


def _chosen(lives: Lives) -> _Case:
    """Judge the newest life alone when that settles it, else the newest lives together."""
    if len(lives) == 1:
        return _case(lives)
    newest, before = lives[-1], lives[-_MOST_LIVES:-1]
    alone = _case([newest]) if len(newest) >= LEAST_SAMPLES else None
    if alone is not None and len(newest) >= _FEW_SAMPLES:
        usual = sorted(life[-1].t - life[0].t for life in before)[len(before) // 2]
        long = len(newest) >= _ALONE_SAMPLES and newest[-1].t - newest[0].t >= usual / 2
        # what came to an end in one life may be no more than how each of them starts
        settled = alone.verdict.kind not in ("warming-up", "plateau") and alone.verdict.settled
        # growth of a start that the lives before it may tell from a leak
        if settled and alone.leak and not alone.just_started and not _came_back(alone, before):
            return alone
        if settled and long and not alone.leak and not (_enough(before) and _could_still(alone, _case(before))):
            return alone
    together = _case([*before, newest])
    # before it all was calm, and it has grown from its start on as none of them did: that is not calm any more
    if alone is not None and alone.leak and alone.just_started and not together.leak and _as_never(alone, before):
        return alone
    return together


def _as_never(alone: _Case, before: Lives) -> bool:
    """Whether RSS has grown since the start of the newest life by clearly more than in any before it, at its age."""
    history = alone.meters.history
    seconds = float(history.age[-1])

    def risen(life: Sequence[Sample]) -> float:
        young = [sample.rss for sample in life if sample.t - life[0].t <= seconds]
        return float(np.median(young[-_LEAST_LIFE:])) - young[0]

    return risen(history.samples) > _UNUSUAL * max(0.0, *(risen(life) for life in before))


def _came_back(alone: _Case, before: Lives) -> bool:
    """Whether what grows in the newest life is no more than what grew in those before it, and was given back."""
    meter = alone.meters.by_name[alone.verdict.meter]
    seconds = float(alone.meters.history.t[-1]) - meter.trend.since
    for life in before:
        values = values_of(life, meter.name)
        known = ~np.isnan(values)
        t = np.array([sample.t for sample in life])[known]
        if came_back(t, values[known], RESOLUTIONS[meter.name], meter.trend.growth, seconds):
            return True
    return False


def _could_still(alone: _Case, before: _Case) -> bool:
    """Whether the newest life, though no leak by itself, may well go on with the leak of the lives before it."""
    if not before.leak:
        return False
    meter = alone.meters.memory
    late = meter.known & (alone.meters.trends.t >= alone.meters.trends.t[len(meter.known) // 3])
    slope = sen_slope(alone.meters.trends.t[late], meter.points[late])
    return slope > before.trend.rate / 3


def _unknown(process: str, samples: int, why: str) -> Finding:
    evidence = {"samples": samples, "why": why, "messages": made_of(why)}
    finding = Finding(process, "not-enough-data", evidence=evidence)
    return dataclasses.replace(finding, advice=advice_for(finding))


def _limit(samples: Sequence[Sample], limit: int | None) -> int | None:
    """Return the lower of the process's own limit and its cgroup's."""
    known = [value for value in (limit, samples[-1].cgroup_limit) if value]
    return min(known, default=None)


def _per_request(history: History, trend: Trend) -> float | None:
    """Return bytes a request: fitted on requests when that explains growth better than time, else from the rates."""
    if history.requests is None or trend.rate <= 0:
        return None
    if trend.per_request is not None:
        return trend.per_request
    served = seconds = 0.0
    for number in range(int(history.life[-1]) + 1):
        members = (history.life == number) & (history.t >= trend.since)
        if members.any():
            served += float(history.requests[members][-1] - history.requests[members][0])
            seconds += float(history.t[members][-1] - history.t[members][0])
    return trend.rate * seconds / served if served > 0 else None


def _ceiling(meters: Meters, verdict: Verdict) -> int | None:
    """Return the RSS at which a plateau ends: the level now and what of the growth is still to come."""
    rss = meters.by_name["rss"]
    if rss.trend.ceiling is not None and rss.trend.family == "ending":
        return round(rss.trend.ceiling)
    meter = meters.by_name[verdict.meter]
    grown = max(rss.level - float(rss.points[rss.known][0]), 0.0)
    return round(rss.level + grown * meter.trend.left)


def _seconds_to_limit(meters: Meters, trend: Trend, limit: int | None, verdict: Verdict) -> float | None:
    """Return when RSS reaches the limit, from its level now; None when it is not known or not going to."""
    if limit is None:
        return None
    room = limit - meters.by_name["rss"].level
    if verdict.kind in LEAKS or verdict.kind == "fragmentation":
        return max(0.0, room / trend.rate) if trend.rate > 0 else None
    rss = meters.by_name["rss"].trend
    to_come = rss.growth * rss.left
    if verdict.kind not in ("plateau", "warming-up") or to_come <= room or rss.until <= rss.since:
        return None
    if room <= 0:  # it is there already, whatever is still to come: nothing, perhaps
        return 0.0
    folding = (rss.until - rss.since) / 3 if rss.end_share < 1 else rss.until - rss.since
    return max(0.0, -folding * math.log(1 - room / to_come))


def _limit_interval(meters: Meters, trend: Trend, limit: int) -> list[float | None]:
    """Return the earliest and the latest time the limit is reached in; None for never.

    By the rate's interval, and by how far RSS usually is from its trend, for it may touch the limit on its way up.
    """
    rss = meters.by_name["rss"]
    room, swing = limit - rss.level, _95 * max(rss.swing, rss.trend.noise)
    ends = ((room - swing, trend.high), (room + swing, trend.low))
    return [max(0.0, way / rate) if rate > 0 else None for way, rate in ends]


def _compared(finding: Finding, before: _Case, deployment: Event) -> Finding:
    """Add what the last deployment changed: the rate before and after, and whether it fixed or brought the leak."""
    said = {(True, False): "fixed", (False, True): "brought", (True, True): "not fixed"}.get(
        (before.leak, finding.leak), "no leak before or after"
    )
    rate = before.trend.rate * 3600 if before.leak else 0.0
    comparison = {
        "t": deployment.t,
        "text": deployment.text,
        "rate_before_bytes_per_h": rate,
        "kind_before": before.verdict.kind,
        "effect": said,
    }
    after = (finding.rate_bytes_per_h or 0.0) if finding.leak else 0.0
    evidence = with_note({**finding.evidence, "deployment": comparison}, rates_of(comparison, after))
    return dataclasses.replace(finding, evidence=evidence)
