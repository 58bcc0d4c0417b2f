"""The options, each declared once, and what they mean."""

import os
from unittest import mock

import pytest
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch import site_cubicweb
from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.serve.guard import GuardLimits
from cubicweb_leakwatch.serve.worker import drain_times, guard_limits
from cubicweb_leakwatch.settings import options_in_force, read_settings
from cubicweb_leakwatch.watch.policy import Budget
from cubicweb_leakwatch.watch.thinning import DAY_S
from cubicweb_leakwatch.worker import own_limits

DEFAULTS = {name: declared["default"] for name, declared in site_cubicweb.options}
NAMES = {
    "leakwatch-interval",
    "leakwatch-memory-limit",
    "leakwatch-max-requests",
    "leakwatch-max-age",
    "leakwatch-drain-timeout",
    "leakwatch-restart",
    "leakwatch-restart-budget",
    "leakwatch-restart-window",
    "leakwatch-horizon",
    "leakwatch-keep",
    "leakwatch-types",
    "leakwatch-notify",
    "leakwatch-metrics-token",
    "leakwatch-show-contents",
}


def settings(**changes):
    """Return the settings where these options differ from their defaults."""
    return read_settings({**DEFAULTS, **{f"leakwatch-{name.replace('_', '-')}": v for name, v in changes.items()}})


def test_the_documented_options_exist_and_explain_themselves():
    """The options are those of the public contract, and each says what it is for."""
    assert set(DEFAULTS) == NAMES
    assert all(len(declared["help"]) > 40 for _name, declared in site_cubicweb.options)


def test_the_defaults_are_the_documented_ones():
    """Out of the box: a snapshot a minute, no limits but the host's, six restarts an hour, two years of history."""
    found = settings()
    assert found.interval_s == 60
    assert (found.memory_limit, found.max_requests, found.max_age_s) == (None, None, None)
    assert found.drain_timeout_s == 30
    assert (found.rules.mode, found.rules.budget, found.rules.horizon_s) == ("auto", Budget(6, 3600), 12 * 3600)
    assert (found.keep.fine_s, found.keep.hourly_s) == (7 * DAY_S, 90 * DAY_S)
    assert (found.types, found.metrics_token, found.show_contents) == (50, None, False)


def test_sizes_and_times_have_units():
    """Sizes and times are written as people write them."""
    found = settings(memory_limit="400MiB", max_age="1d", max_requests="1000", keep="")
    assert found.memory_limit == 400 * 1024**2
    assert (found.max_age_s, found.max_requests, found.keep) == (86400, 1000, None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("memory-limit", "lots"),
        ("max-requests", "-1"),
        ("restart", "sometimes"),
        ("restart-budget", "many"),
        ("restart-window", "at night"),
        ("keep", "fine=2y,daily=1d"),
        ("interval", "soon"),
    ],
)
def test_a_value_that_means_nothing_names_its_option(option, value):
    """A bad value is a configuration error whose sentence names the option."""
    with pytest.raises(ConfigurationError, match=f"leakwatch-{option}"):
        read_settings({**DEFAULTS, f"leakwatch-{option}": value})


class InstanceOptionsTC(CubicWebTC):
    def test_an_instance_has_the_options(self):
        """An instance with the cube reads the options, with their defaults and units."""
        assert read_settings(self.config) == settings()

    def test_the_environment_overrides_them(self):
        """CW_LEAKWATCH_… sets an option for one process."""
        changed = {"CW_LEAKWATCH_INTERVAL": "5min", "CW_LEAKWATCH_MEMORY_LIMIT": "1GiB", "CW_LEAKWATCH_TYPES": "7"}
        with mock.patch.dict(os.environ, changed):
            found = read_settings(self.config)
        assert (found.interval_s, found.memory_limit, found.types) == (300, 1024**3, 7)


def test_the_limit_in_force_is_told_with_its_unit(monkeypatch):
    """leak-serve hands it to its processes in bytes."""
    monkeypatch.setenv("CW_LEAKWATCH_MEMORY_LIMIT", "167772160")
    told = {option["name"]: option for option in options_in_force({**DEFAULTS, "leakwatch-memory-limit": "167772160"})}
    assert told["leakwatch-memory-limit"]["value"] == "160.0 MiB"
    assert told["leakwatch-memory-limit"]["origin"] == "environment"


def test_a_worker_alone_takes_its_limits_from_the_options_or_its_control_group():
    """Four fifths of what the group grants, for no successor stands beside it; without either there is no limit."""
    granted, nothing = own_limits(settings(), 1000 * 1024**2), own_limits(settings(), None)
    assert granted["LEAKWATCH_MEMORY_LIMIT"] == str(800 * 1024**2)
    assert nothing["LEAKWATCH_MEMORY_LIMIT"] == "0"
    given = {"memory_limit": "300MiB", "max_requests": 5, "max_age": "1h"}
    environment = own_limits(settings(**given), 1000 * 1024**2)
    assert guard_limits(environment) == GuardLimits(300 * 1024**2, 5, 3600.0)
    assert drain_times(environment).limit_s == 30
