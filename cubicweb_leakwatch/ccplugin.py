"""The commands that the cube adds to ``cubicweb-ctl``."""

from cubicweb.cwctl import CWCTL

from cubicweb_leakwatch.commands.leak_gc import LeakGc
from cubicweb_leakwatch.commands.leak_restart import LeakRestart
from cubicweb_leakwatch.commands.leak_serve import LeakServe
from cubicweb_leakwatch.commands.leak_status import LeakStatus

COMMANDS = (LeakServe, LeakStatus, LeakGc, LeakRestart)

for command in COMMANDS:
    CWCTL.register(command)
