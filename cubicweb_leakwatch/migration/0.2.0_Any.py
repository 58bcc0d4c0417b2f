"""From 0.1.0: wishes that travel between hosts, what hosts need to know of each other's processes, looping tasks."""

from cubicweb_leakwatch.recording.coarse import INDEXES

add_entity_type("RestartRequest")
add_attribute("WorkerRestart", "recorded_at")
add_attribute("LeakwatchProcess", "memory_limit")
add_attribute("MemorySnapshot", "tasks")
add_attribute("MemorySnapshot", "cgroup_pressure")
for name in ("detail", "trimmed", "autopsy"):
    add_attribute("WorkerRestart", name)
for statement in INDEXES:
    sql(statement, ask_confirm=False)
