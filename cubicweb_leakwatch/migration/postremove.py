"""Run once, when an instance gives the cube up: what CubicWeb leaves of the entities of a dropped type goes as well."""

OURS = ("LeakwatchProcess", "MemorySnapshot", "LeakFinding", "WorkerRestart", "RestartRequest")
SYSTEM_RELATIONS = (
    "is_relation",
    "is_instance_of_relation",
    "cw_source_relation",
    "created_by_relation",
    "owned_by_relation",
)

commit(ask_confirm=False)  # the tables of our types go now, and with them what refers to the rows below
names = ", ".join(f"'{name}'" for name in OURS)
for table in SYSTEM_RELATIONS:
    sql(
        f"DELETE FROM {table} WHERE eid_from IN (SELECT eid FROM entities WHERE type IN ({names}))",
        ask_confirm=False,
    )
sql(f"DELETE FROM entities WHERE type IN ({names})", ask_confirm=False)
commit(ask_confirm=False)
