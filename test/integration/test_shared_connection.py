"""A database connection that the process and its copies share: the copies leave it alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import postgresql

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, sys, tempfile, threading
import psycopg2
from cubicweb_leakwatch.heap.counts import take_counts
from cubicweb_leakwatch.heap.dump import take_dump
connection = psycopg2.connect(host=sys.argv[1], port=sys.argv[2], user="postgres", dbname="postgres")
cursor = connection.cursor()
cursor.execute("CREATE TEMPORARY TABLE rows (n integer)")
backend = connection.get_backend_pid()
asked, wrong, stop = 0, [], threading.Event()
def ask():
    global asked
    while not stop.is_set():
        cursor.execute("INSERT INTO rows VALUES (%s) RETURNING n", (asked,))
        if cursor.fetchone() != (asked,):
            wrong.append(asked)
        asked += 1
KEPT = [{"n": [n]} for n in range(20000)]
thread = threading.Thread(target=ask)
thread.start()
with tempfile.TemporaryDirectory() as folder:
    for n in range(50):
        take_counts() if n % 5 else take_dump(f"{folder}/x.dump", header={})
during = asked
stop.set()
thread.join()
cursor.execute("SELECT count(*), count(DISTINCT n) FROM rows")
print(json.dumps({
    "wrong": wrong, "during": during, "asked": asked, "found": cursor.fetchone(),
    "same": connection.get_backend_pid() == backend, "status": connection.get_transaction_status(),
}))
"""


@pytest.mark.integration
def test_fifty_walks_leave_a_connection_in_use_alone(needs_program: Callable[[str, str], str]):
    """Rows written before, during and after fifty copies are all there, in the same transaction of the same backend."""
    with postgresql(needs_program) as database:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, database["db-host"], database["db-port"]],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["during"] > 50
    assert told["found"] == [told["asked"], told["asked"]]
    assert told["same"] is True
    assert told["status"] == 2  # still in its transaction
