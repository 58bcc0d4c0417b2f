"""The options of the cube, each declared once; ``settings`` reads them, the documentation lists them from here.

Every option is also read from the environment, as ``CW_`` and its name in capitals with ``_`` for ``-``.
"""

_GROUP = {"group": "leakwatch", "level": 1}

options = (
    (
        "leakwatch-interval",
        {
            "type": "time",
            "default": "1min",
            "help": "Time between two recorded snapshots of every process, e.g. 30s or 5min. "
            "0 records nothing. Raise it to spare a slow database.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-memory-limit",
        {
            "type": "string",
            "default": "0",
            "help": "Private memory past which a web worker is replaced, e.g. 400MiB or 1.5GiB. "
            "0 takes a share of what the control group or the host has, told when the server starts.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-max-requests",
        {
            "type": "int",
            "default": 0,
            "help": "Requests after which a web worker is replaced; 0 for no such limit. "
            "For a leak that cannot be measured.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-max-age",
        {
            "type": "time",
            "default": "0",
            "help": "Age at which a web worker is replaced, e.g. 12h or 1d; 0 for no such limit.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-drain-timeout",
        {
            "type": "time",
            "default": "30s",
            "help": "Time that a retiring worker gets to finish the requests it has accepted. "
            "Raise it above the duration of the slowest page.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-restart",
        {
            "type": "choice",
            "choices": ("auto", "advise", "off"),
            "default": "auto",
            "help": "auto replaces workers (under leak-serve only), advise only says what it would do, "
            "off leaves restarts to you.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-restart-budget",
        {
            "type": "string",
            "default": "6/h",
            "help": "How many automatic restarts in how much time at most, e.g. 6/h or 10/d. Empty for no bound.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-restart-window",
        {
            "type": "string",
            "default": "",
            "help": "Time of day that planned restarts prefer, in local time, e.g. 02:00-05:00. "
            "A hard limit does not wait for it. Empty for any time.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-horizon",
        {
            "type": "time",
            "default": "12h",
            "help": "A restart is planned when the memory limit is predicted to be reached within this time. "
            "0 plans none.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-keep",
        {
            "type": "string",
            "default": "fine=7d,hourly=90d,daily=2y",
            "help": "How long snapshots are kept as they are, as one an hour, as one a day. Empty keeps all as it is.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-types",
        {
            "type": "int",
            "default": 50,
            "help": "Object types recorded with each snapshot, the most numerous first. "
            "0 records none and spares the copy of the process that counting takes.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-notify",
        {
            "type": "string",
            "default": "",
            "help": "Mail addresses, with commas between them, that get one mail when a finding opens. "
            "Sent by the instance's own mail options (smtp-host, sender-addr). Empty sends none.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-metrics-token",
        {
            "type": "password",
            "default": "",
            "help": "Bearer token with which /_leakwatch/metrics answers a monitoring server. "
            "Empty answers managers alone.",
            **_GROUP,
        },
    ),
    (
        "leakwatch-show-contents",
        {
            "type": "yn",
            "default": False,
            "help": "Whether managers may see the contents of objects, not their types and sizes alone. "
            "A heap holds passwords and sessions: leave it off where managers may not know them.",
            **_GROUP,
        },
    ),
)
