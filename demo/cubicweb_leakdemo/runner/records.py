"""Prints the restarts that the instance's database holds, as a JSON list: ``python -m …runner.records INSTANCE``.

A process of its own, because it boots a repository: the runner stays small and never opens the database.
"""

import json
import sys

from cubicweb.cwconfig import CubicWebConfiguration


def recorded_restarts(name: str) -> list[dict[str, object]]:
    """Return the attributes of every ``WorkerRestart`` of instance ``name``, in the order they were recorded."""
    repo = CubicWebConfiguration.config_for(name).repository()
    with repo.internal_cnx() as cnx:
        rset = cnx.execute("Any X ORDERBY X WHERE X is WorkerRestart")
        entities = list(rset.entities())
        for entity in entities:
            entity.complete()
        return [dict(entity.cw_attr_cache) for entity in entities]


if __name__ == "__main__":
    json.dump(recorded_restarts(sys.argv[1]), sys.stdout, default=str)
