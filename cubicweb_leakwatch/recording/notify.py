"""One mail when a finding opens, by CubicWeb's own mail: to the addresses of option ``leakwatch-notify``."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cubicweb.mail import format_mail

from cubicweb_leakwatch.watch.units import format_rate

logger = logging.getLogger("leakwatch.notify")


def notifier(config: Any, addresses: Sequence[str]) -> Callable[[Mapping[str, Any]], None] | None:
    """Return what mails a finding (as documented) to ``addresses``; None where there are none.

    ``config`` is the instance's: it knows the mail server and the sender. A mail that cannot be sent is logged.
    """
    if not addresses:
        return None

    def tell(finding: Mapping[str, Any]) -> None:
        subject = f"[{config.appid}] {finding['process']} leaks: {finding['kind']}"
        message = format_mail({}, list(addresses), "\n".join(_lines(config, finding)), subject, config=config)
        try:
            if not config.sendmails([(message, list(addresses))]):
                logger.error("no mail about the finding process=%s: the mail server did not answer", finding["process"])
        except Exception:  # the mail server's trouble is not the recording's
            logger.exception("no mail about the finding process=%s", finding["process"])

    return tell


def _lines(config: Any, finding: Mapping[str, Any]) -> Iterator[str]:
    yield finding["advice"]
    yield ""
    yield f"process     {finding['process']} of {config.appid}"
    if finding.get("since"):
        yield f"since       {finding['since']}"
    yield f"rate        {format_rate(finding.get('rate_bytes_per_h'))}"
    for culprit in finding.get("culprits") or ():
        yield f"type        {culprit['type']}"
    if finding.get("holder"):
        yield f"held by     {finding['holder']}"
    for view in finding.get("views") or ():
        yield f"leaks in    {view['view']}"
    for note in (finding.get("evidence") or {}).get("notes") or ():
        yield f"note        {note}"
    yield ""
    yield f"{config['base-url'].rstrip('/')}/?vid=leakwatch"
