"""Rules of the memory that is left: the tightest of host and control groups, unknown where nobody says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubicweb_leakwatch import room

MEMINFO = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 600 kB\n"


def host(tmp_path, files):
    """A file system with these files, by path."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return room.read_room(str(tmp_path))


def test_without_a_control_group_the_host_counts(tmp_path):
    """What the kernel calls available, not what is free."""
    found = host(tmp_path, {})
    assert (found.available, found.total, found.cgroup_limit) == (600 * 1024, 1000 * 1024, None)


def test_cgroup_v2_limit_of_a_parent_counts(tmp_path):
    """Our own group has no limit, its parent has; page cache that can be dropped is not used."""
    files = {
        "proc/self/cgroup": "0::/site/web\n",
        "sys/fs/cgroup/site/web/memory.max": "max\n",
        "sys/fs/cgroup/site/memory.max": "500000\n",
        "sys/fs/cgroup/site/memory.current": "450000\n",
        "sys/fs/cgroup/site/memory.stat": "anon 1\ninactive_file 50000\n",
    }
    found = host(tmp_path, files)
    assert (found.cgroup_limit, found.cgroup_left, found.available, found.total) == (500000, 100000, 100000, 500000)


def test_cgroup_v1_and_its_way_to_say_no_limit(tmp_path):
    """The huge number of an unlimited v1 group is no limit; in a container the mount's own files count."""
    files = {
        "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "300000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000\n",
    }
    found = host(tmp_path, files)
    assert (found.cgroup_limit, found.cgroup_left) == (300000, 200000)


def test_nothing_to_read_is_unknown(tmp_path):
    """No /proc: unknown, never 0."""
    found = room.read_room(str(tmp_path))
    assert found == room.Room(None, None, None, None) and found.available is None


def test_this_host_has_memory():
    """On a real host the figures are there and in order."""
    found = room.read_room()
    assert 0 < found.available <= found.total


@pytest.mark.parametrize("name", ["proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/memory.max"])
@given(text=st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_no_text_of_the_kernel_makes_reading_fail(tmp_path_factory, name, text):
    """Formats of kernels to come are unknown to us, not a crash."""
    files = {"proc/self/cgroup": "0::/\n", name: text}
    host(tmp_path_factory.mktemp("root"), files)


PRESSURE = "some avg10=9.10 avg60={} avg300=0.40 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.mark.parametrize(
    ("files", "percent"),
    [
        ({"sys/fs/cgroup/site/web/memory.pressure": "12.50", "proc/pressure/memory": "1.00"}, 12.5),
        ({"sys/fs/cgroup/memory.pressure": "3.25", "proc/pressure/memory": "1.00"}, 3.25),
        ({"proc/pressure/memory": "1.00"}, 1.0),
        ({"proc/pressure/memory": "nan"}, None),
        ({}, None),
    ],
)
def test_pressure_is_of_the_nearest_that_is_watched(tmp_path, files, percent):
    """Our own group's, in a container the mount's, else the host's; unknown where the kernel counts none."""
    host(tmp_path, {"proc/self/cgroup": "0::/site/web\n", **{name: PRESSURE.format(v) for name, v in files.items()}})
    assert room.read_pressure(room.find_pressure(str(tmp_path))) == percent
