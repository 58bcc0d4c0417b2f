"""Words of the data that pages translate: states, verdicts, outcomes, events. Marked here for the catalogues."""

from cubicweb import _

STATES = (_("starting"), _("serving"), _("draining"), _("stopping"))
SILENT = _("silent")
KINDS = (
    _("steady"),
    _("warming-up"),
    _("plateau"),
    _("python-objects"),
    _("uncollectable"),
    _("python-memory"),
    _("native"),
    _("fragmentation"),
    _("file-descriptors"),
    _("threads"),
    _("not-enough-data"),
)
OUTCOMES = (_("replaced"), _("successor-failed"), _("drain-timeout"))
EVENTS = (_("restart"), _("deployment"), _("finding"))
UNITS = (
    _("bytes"),
    _("blocks"),
    _("objects"),
    _("threads"),
    _("file descriptors"),
    _("uncollectable objects"),
)
ORIGINS = (_("default"), _("file"), _("environment"))
