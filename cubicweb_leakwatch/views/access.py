"""Who may see the pages of leakwatch: managers. Others get 403, and visitors are sent to log in."""

from typing import Any

from cubicweb import AuthenticationError, Unauthorized
from cubicweb.predicates import match_kwargs, match_user_groups
from cubicweb_web.view import StartupView

for_managers = StartupView.__select__ & match_user_groups("managers")


class ManagersOnly(StartupView):
    """Stands for a page in front of everybody else; a page without it would answer 200 with the index page.

    The tab of ``siteinfo`` is selected with ``tabid``: it must stay hidden, not forbid the whole page.
    """

    __abstract__ = True
    __select__ = StartupView.__select__ & ~match_user_groups("managers") & ~match_kwargs("tabid")

    def call(self, **kwargs: Any) -> None:
        """Send a visitor to log in, refuse a user."""
        if self._cw.session.anonymous_session:
            raise AuthenticationError
        raise Unauthorized(self._cw._("This page is for managers."))
