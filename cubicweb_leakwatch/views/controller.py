"""What publishes the pages of leakwatch: CubicWeb's own controller, in a file of its own.

CubicWeb notes for each request on which line the class of its controller stands, and has the whole file parsed for it:
that of its own controllers takes longer than most of our panels do.
"""

from cubicweb.predicates import match_form_params
from cubicweb_web.views.basecontrollers import ViewController


class LeakwatchController(ViewController):
    """Publishes a page of leakwatch as CubicWeb publishes any other."""

    __select__ = ViewController.__select__ & (match_form_params(vid="leakwatch") | match_form_params(vid="gc"))
