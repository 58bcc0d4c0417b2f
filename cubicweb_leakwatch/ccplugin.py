"""The commands that the cube adds to ``cubicweb-ctl``."""

from cubicweb.cwctl import CWCTL

from cubicweb_leakwatch.commands import COMMANDS

for command in COMMANDS:
    CWCTL.register(command)
