"""Run once, when an instance gets the cube: what the schema cannot say of the tables, and what is to be done next."""

from cubicweb_leakwatch.recording.coarse import INDEXES

for statement in INDEXES:
    sql(statement, ask_confirm=False)

print(
    f"-> leakwatch: restart the processes of {config.appid} so that they are watched, "
    f"then: cubicweb-ctl leak-status {config.appid}"
)
