"""The errors leakwatch tells an operator: what failed, why, what to do; never a traceback.

Nothing is imported here: the launcher, the probes and the commands all share these.
"""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 2
EXIT_CONFIGURATION = 4


class LeakwatchError(Exception):
    """A failure with a stable ``code``, one sentence for the operator and, mostly, a hint what to do.

    ``exit_code`` is the status a command ends with.
    """

    code = "failed"
    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code

    def as_json(self) -> dict[str, str]:
        """Return the ``error`` member of a failed ``--json`` document."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class ConfigurationError(LeakwatchError):
    """The instance, a process or a setting that was named does not exist or cannot be used."""

    code = "configuration"
    exit_code = EXIT_CONFIGURATION
