"""The panels of the dashboard, one a module, in the order in which they stand on the page."""

from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.panels.chart import ChartPanel
from cubicweb_leakwatch.views.panels.findings import FindingsPanel
from cubicweb_leakwatch.views.panels.growth import GrowthPanel
from cubicweb_leakwatch.views.panels.processes import ProcessesPanel
from cubicweb_leakwatch.views.panels.restarts import RestartsPanel
from cubicweb_leakwatch.views.panels.settings import SettingsPanel
from cubicweb_leakwatch.views.panels.snapshots import SnapshotsPanel
from cubicweb_leakwatch.views.panels.verdict import VerdictPanel

PANELS: tuple[type[Panel], ...] = (
    VerdictPanel,
    ChartPanel,
    ProcessesPanel,
    GrowthPanel,
    FindingsPanel,
    RestartsPanel,
    SnapshotsPanel,
    SettingsPanel,
)
