"""The commands that the cube adds to ``cubicweb-ctl``."""

from cubicweb.cwctl import CWCTL

from cubicweb_leakwatch.commands.leak_analyze import LeakAnalyze
from cubicweb_leakwatch.commands.leak_collect import LeakCollect
from cubicweb_leakwatch.commands.leak_diagnose import LeakDiagnose
from cubicweb_leakwatch.commands.leak_drill import LeakDrill
from cubicweb_leakwatch.commands.leak_dump import LeakDump
from cubicweb_leakwatch.commands.leak_findings import LeakFindings
from cubicweb_leakwatch.commands.leak_gc import LeakGc
from cubicweb_leakwatch.commands.leak_history import LeakHistory
from cubicweb_leakwatch.commands.leak_holders import LeakHolders
from cubicweb_leakwatch.commands.leak_purge import LeakPurge
from cubicweb_leakwatch.commands.leak_restart import LeakRestart
from cubicweb_leakwatch.commands.leak_serve import LeakServe
from cubicweb_leakwatch.commands.leak_snapshot import LeakSnapshot
from cubicweb_leakwatch.commands.leak_status import LeakStatus

COMMANDS = (
    LeakServe,
    LeakStatus,
    LeakGc,
    LeakHolders,
    LeakFindings,
    LeakHistory,
    LeakSnapshot,
    LeakRestart,
    LeakDrill,
    LeakDump,
    LeakAnalyze,
    LeakDiagnose,
    LeakCollect,
    LeakPurge,
)

for command in COMMANDS:
    CWCTL.register(command)
