"""What grows between two snapshots: read from the database, told in numbers."""

from cube_data import NOON, measured, sample
from cubicweb.devtools.testlib import CubicWebTC

from cubicweb_leakwatch.recording.growth import CHOICES, growth, read_counts
from cubicweb_leakwatch.recording.history import read_samples
from cubicweb_leakwatch.recording.records import record_measured

HANDLER = "mercurial.url.httphandler"


def counted(*counts):
    """Return snapshots a minute apart."""
    return [(NOON + 60 * index, types) for index, types in enumerate(counts)]


def test_growth_is_told_with_its_share():
    """The type that grew most comes first; what shrank is no growth."""
    told = growth(counted({"a": 10, "b": 5, "c": 9}, {"a": 40, "b": 6, "c": 1}))
    assert [(row["type"], row["before"], row["after"], row["delta"]) for row in told["types"]] == [
        ("a", 10, 40, 30),
        ("b", 5, 6, 1),
    ]
    assert [round(row["share"], 3) for row in told["types"]] == [0.968, 0.032]


def test_the_nearest_snapshots_are_compared():
    """Whichever end was named first."""
    snapshots = counted({"a": 1}, {"a": 2}, {"a": 4}, {"a": 8})
    told = growth(snapshots, NOON + 200, NOON + 50)
    assert (told["from"], told["to"]) == (NOON + 60, NOON + 180)
    assert told["types"][0]["counts"] == [2, 4, 8]


def test_a_type_counts_from_when_it_was_recorded():
    """Only some types are recorded with a snapshot: what is not known is not taken for none."""
    (row,) = growth(counted({}, {"a": 100}, {"a": 150}))["types"]
    assert (row["before"], row["delta"], row["since"], row["counts"]) == (100, 50, NOON + 60, [None, 100, 150])


def test_one_snapshot_tells_no_growth():
    """Nor does none."""
    for snapshots in ([], counted({"a": 1})):
        assert growth(snapshots)["types"] == []


class CountsTC(CubicWebTC):
    def test_the_latest_snapshots_are_the_last_ones(self):
        """Oldest first, each as it was taken."""
        with self.repo.internal_cnx() as cnx:
            record_measured(cnx, measured(*(sample(NOON + 60 * i, requests=i) for i in range(1, 9))))
            cnx.commit()
            found = read_samples(cnx, NOON, NOON + 3600, latest=3)
        assert [(row["t"], row["requests"]) for row in found] == [(NOON + 60 * i, i) for i in (6, 7, 8)]

    def test_only_some_snapshots_of_one_process_are_read(self):
        """Of a long time so many as one can choose from; those without type counts are left out."""
        samples = [sample(NOON + 60 * i, types={HANDLER: i} if i % 2 else None) for i in range(1, 200)]
        with self.repo.internal_cnx() as cnx:
            record_measured(cnx, measured(*samples))
            record_measured(cnx, measured(sample(NOON + 70, types={HANDLER: 7}), pid=5, name="scheduler"))
            cnx.commit()
            found = read_counts(cnx, measured().identity.host, measured().identity.pid, NOON, NOON + 86400)
            few = read_counts(cnx, measured().identity.host, measured().identity.pid, NOON, NOON + 600)
        assert 2 < len(found) <= CHOICES
        assert found[-1] == (NOON + 60 * 199, {HANDLER: 199})
        assert [types[HANDLER] for _t, types in few] == [1, 3, 5, 7, 9]
