"""Leaks of many kinds: the program's type is among the first suspects, its holder is told in a developer's words."""

from pathlib import Path

import pytest
from heap_programs import run_program
from leak_programs import ITEM, LEAKS

from cubicweb_leakwatch.heap.analyze import analyze_graph
from cubicweb_leakwatch.heap.graph import read_graph
from cubicweb_leakwatch.heap.holders import holder_groups
from cubicweb_leakwatch.heap.reach import reach

# One program forks for each leak: each has a heap of its own, and the interpreter starts once.
_RUN = """
import gc, json, os, sys, types, warnings
from pathlib import Path
from cubicweb_leakwatch.heap.dump import take_dump
warnings.simplefilter("ignore")
def leak(path):
    source = Path(path).read_text()
    app = sys.modules["app"] = types.ModuleType("app")
    exec(compile(source, "app.py", "exec"), app.__dict__)
    del app
    gc.collect()
    take_dump(path + ".dump", header={"process": {"name": "web-1", "pid": os.getpid(), "role": "web"}})
failed = []
for number in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        try:
            leak(f"{sys.argv[2]}/{number}")
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        failed.append(number)
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with a dump of each program, by its number."""
    folder = tmp_path_factory.mktemp("leaks")
    for number, leak in enumerate(LEAKS.values()):
        (folder / str(number)).write_text(f"{ITEM}{leak.source}\n")
    assert run_program(_RUN, str(len(LEAKS)), str(folder), warnings="ignore", seconds=110) == []
    return folder


@pytest.mark.parametrize("kind", LEAKS)
def test_the_leaked_type_is_among_the_first_three_suspects_and_its_holder_is_the_first_group(kind: str, dumps: Path):
    """What leaks is named by type, and what keeps it by the path a developer would write."""
    leak = LEAKS[kind]
    path = str(dumps / f"{list(LEAKS).index(kind)}.dump")
    graph = read_graph(path)
    suspects = analyze_graph(graph)["suspects"][:3]
    named = next((suspect["type"] for suspect in suspects if suspect["type"] in leak.types), None)
    assert named, [(suspect["type"], suspect["holder"]) for suspect in suspects]
    assert holder_groups(graph, reach(graph), named)[0].text.startswith(leak.holders)
