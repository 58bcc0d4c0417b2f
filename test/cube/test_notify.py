"""One mail when a finding opens."""

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.recording.notify import notifier
from cubicweb_leakwatch.settings import read_settings
from cubicweb_leakwatch.site_cubicweb import options
from cubicweb_leakwatch.watch.finding import Culprit, Finding

FINDING = Finding("web-1", "python-objects", culprits=(Culprit("app.Entry", 1.0),), advice="It leaks.").as_json()


class Config(dict):
    """An instance's configuration with a mail server that takes, or refuses, everything."""

    appid = "site"

    def __init__(self, *, works: bool = True) -> None:
        super().__init__(
            {"base-url": "http://site/", "sender-name": "site", "sender-addr": "site@host", "sender-x-cw-header": False}
        )
        self.sent: list[tuple[str, list[str]]] = []
        self.works = works

    def sendmails(self, messages):
        """Do as CubicWeb's does."""
        self.sent += [(message.as_string(), to) for message, to in messages]
        return self.works


def test_the_mail_says_what_leaks():
    """Subject, sentence, culprit and the way to the dashboard; to all addresses at once."""
    config = Config()
    notifier(config, ("a@b", "c@d"))(FINDING)
    ((_, to),) = config.sent
    assert to == ["a@b", "c@d"]


def test_nobody_is_told_where_nobody_asked():
    """Without addresses there is nothing to call."""
    assert notifier(Config(), ()) is None


def test_a_mail_server_that_is_away_harms_nothing(caplog):
    """The recording goes on; the log says that no mail went out."""
    notifier(Config(works=False), ("a@b",))(FINDING)
    assert "did not answer" in caplog.text


def test_addresses_are_checked():
    """Several are separated by commas or blanks; what is no address is refused by the option's name."""
    config = {name: declared["default"] for name, declared in options}
    assert read_settings({**config, "leakwatch-notify": "a@b, c@d"}).notify == ("a@b", "c@d")
    with pytest.raises(ConfigurationError, match="leakwatch-notify"):
        read_settings({**config, "leakwatch-notify": "nobody"})
