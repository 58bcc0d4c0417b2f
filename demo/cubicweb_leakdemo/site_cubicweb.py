"""The options of the demo's cube."""

options = (
    (
        "leakdemo-repository-url",
        {
            "type": "string",
            "default": "",
            "help": "the Mercurial repository to poll over HTTP; empty: none is polled",
            "group": "leakdemo",
            "level": 3,
        },
    ),
    (
        "leakdemo-poll-interval",
        {
            "type": "time",
            "default": "1s",
            "help": "time between two rounds of polling",
            "group": "leakdemo",
            "level": 3,
        },
    ),
    (
        "leakdemo-polls",
        {
            "type": "int",
            "default": 20,
            "help": "polls a round: each leaks one mercurial.url.httphandler",
            "group": "leakdemo",
            "level": 3,
        },
    ),
    (
        "leakdemo-poll-at-most",
        {
            "type": "int",
            "default": 2000,
            "help": "stop polling once so many handlers are kept (0: never)",
            "group": "leakdemo",
            "level": 3,
        },
    ),
)
