"""Starts the polling in the process that runs the looping tasks, as the vcsfile cube did."""

from cubicweb.server.hook import Hook


class StartPolling(Hook):
    """Registers the looping task that polls the repository of ``leakdemo-repository-url``."""

    __regid__ = "leakdemo.start-polling"
    events = ("server_startup",)

    def __call__(self) -> None:
        """Do nothing in a process without a scheduler, or where no repository is named."""
        config = self.repo.config
        url = config["leakdemo-repository-url"]
        if not url or not self.repo.has_scheduler():
            return
        # Mercurial is only loaded where it is used: a web worker never polls.
        from cubicweb_leakdemo.polling import poll_round

        self.repo.looping_task(
            config["leakdemo-poll-interval"], poll_round, url, config["leakdemo-polls"], config["leakdemo-poll-at-most"]
        )
