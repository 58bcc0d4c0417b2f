"""Where the instance's life meets leakwatch's: the scheduler starts, a process shuts down."""

from cubicweb.server import hook

from cubicweb_leakwatch import probing


class WatchTheScheduler(hook.Hook):
    """Start the probe and the looping task where looping tasks run.

    The event comes in almost every command that loads a repository; only the scheduler's repository has one.
    """

    __regid__ = "leakwatch.scheduler"
    events = ("server_startup",)

    def __call__(self) -> None:
        """Start both, unless this is no scheduler."""
        if not self.repo.has_scheduler():
            return
        from cubicweb_leakwatch.connections import steady
        from cubicweb_leakwatch.looping import count_tasks
        from cubicweb_leakwatch.probe.process import this_process
        from cubicweb_leakwatch.recording.collect import Collector

        steady(self.repo)
        probing.start(self.repo.config, "scheduler")
        this_process().state = "serving"
        count_tasks(self.repo._scheduler, this_process())
        settings = probing.settings_or_none(self.repo.config)
        if settings is not None and settings.interval_s is not None:
            collector = Collector(self.repo, settings)
            probing.before_stop(collector.stop)
            collector.arrange()
            self.repo.looping_task(settings.interval_s, collector.leakwatch_collect)


class StopTheProbe(hook.Hook):
    """Stop task and probe before the repository closes: a late question must not find half a process."""

    __regid__ = "leakwatch.stop"
    events = ("before_server_shutdown",)

    def __call__(self) -> None:
        """Stop it, if it runs."""
        probing.stop()
