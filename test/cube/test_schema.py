"""Who may see and write what leakwatch records."""

from cubicweb import Unauthorized
from cubicweb.devtools.testlib import CubicWebTC

RECORDS = ("LeakwatchProcess", "MemorySnapshot", "LeakFinding", "WorkerRestart")
LINKS = ("snapshot_of", "finding_of", "restart_of")
PROCESS = {"host": "here", "name": "web-1", "role": "web", "pid": 4711, "started_at": "2026-11-22T10:00:00+00:00"}


def record_process(cnx, **changes):
    """Record a process of the instance."""
    return cnx.create_entity("LeakwatchProcess", **{**PROCESS, **changes})


class SchemaTC(CubicWebTC):
    def setup_database(self):
        """One user who is no manager, one process with one snapshot."""
        with self.admin_access.cnx() as cnx:
            self.create_user(cnx, "ada", groups=("users",))
            cnx.commit()
        with self.repo.internal_cnx() as cnx:
            process = record_process(cnx)
            cnx.create_entity("MemorySnapshot", t=1.5, rss=5 * 10**9, snapshot_of=process, types='{"dict": 3}')
            cnx.commit()

    def test_leakwatch_writes_and_managers_read(self):
        """What an internal connection records, a manager reads back, times and large sizes unchanged."""
        with self.admin_access.cnx() as cnx:
            rows = cnx.execute(
                "Any T, R, H, S WHERE X is MemorySnapshot, X t T, X rss R, X snapshot_of P, P host H, P started_at S"
            ).rows
        assert [row[:3] for row in rows] == [[1.5, 5 * 10**9, "here"]]
        assert rows[0][3].isoformat() == "2026-11-22T10:00:00+00:00"

    def test_users_read_nothing(self):
        """A user who is no manager gets no row, no count and no attribute of any record, by whatever way."""
        with self.repo.internal_cnx() as cnx:
            eids = [eid for (eid,) in cnx.execute("Any X WHERE X is IN (LeakwatchProcess, MemorySnapshot)")]
        queries = [f"Any X WHERE X is {etype}" for etype in RECORDS]
        queries += [f"Any COUNT(X) WHERE X is {etype}" for etype in RECORDS]
        queries += ["Any R WHERE X rss R", "Any X, P WHERE X snapshot_of P", "Any H WHERE S snapshot_of P, P host H"]
        with self.new_access("ada").cnx() as cnx:
            for rql in queries:
                with self.assertRaises(Unauthorized):
                    cnx.execute(rql)
            for eid in eids:
                with self.assertRaises(Unauthorized):
                    cnx.execute("Any X WHERE X eid %(x)s", {"x": eid})

    def test_nobody_writes_but_leakwatch(self):
        """Not even a manager adds, changes or deletes a record."""
        with self.admin_access.cnx() as cnx:
            attempts = (
                lambda: record_process(cnx, pid=1),
                lambda: cnx.execute("SET X note 'mine' WHERE X is MemorySnapshot"),
                lambda: cnx.execute("DELETE MemorySnapshot X"),
                lambda: cnx.execute("DELETE LeakwatchProcess X"),
            )
            for attempt in attempts:
                with self.assertRaises(Unauthorized):
                    attempt()
                    cnx.commit()
                cnx.rollback()

    def test_every_record_and_link_has_these_permissions(self):
        """Each type and relation of the cube is for managers to read and for nobody to write."""
        for etype in RECORDS:
            permissions = self.schema.entity_schema_for(etype).permissions
            assert permissions == {"read": ("managers",), "add": (), "update": (), "delete": ()}, etype
        for rtype in LINKS:
            for definition in self.schema.relation_schema_for(rtype).relation_definitions.values():
                assert definition.permissions == {"read": ("managers",), "add": (), "delete": ()}, rtype
