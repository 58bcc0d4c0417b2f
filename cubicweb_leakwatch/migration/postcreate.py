"""Run once, when an instance gets the cube: there is nothing to create, so only the next step is told."""

print(
    f"-> leakwatch: restart the processes of {config.appid} so that they are watched, "
    f"then: cubicweb-ctl leak-status {config.appid}"
)
