"""No client notices a replacement: real workers, real load, honest clients."""

import asyncio
import signal
import time

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.serve.clients import Outcome
from cubicweb_leakwatch.serve.drill import DrillPlan, run_drill
from cubicweb_leakwatch.serve.load import LoadResult, Mix, run_load
from cubicweb_leakwatch.serve.spec import Timing

MIX = Mix(new=20, slow=1, upload=1, lazy=2, split=2, keep_alive=5, slow_path="/slow")
TIMING = Timing(ready_timeout_s=20.0, drain_timeout_s=8.0, exit_grace_s=2.0, retry_first_s=0.3)


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_fails_through_three_replacements_and_a_broken_successor(launch, tmp_path, workers, kind):
    """New, kept-alive, slow, uploading, lazy and split clients: not one of them is failed."""
    bind = ("127.0.0.1:0",) if kind == "tcp" else (f"unix:{tmp_path}/site.sock",)
    launched = launch(workers=workers, bind=bind, timing=TIMING).until_serving(workers)
    address = launched.address() if kind == "tcp" else f"{tmp_path}/site.sock"
    plan = DrillPlan(replacements=3, seconds=60, broken_successor=True, pause_s=0.2, mix=MIX)
    result = run_drill(address, str(launched.runtime), plan).as_json()
    assert result["failures"] == {}
    assert result["sent"] > 100
    assert [restart["outcome"] for restart in result["restarts"]] == ["successor-failed", *["replaced"] * 3]
    for restart in result["restarts"][1:]:
        parts = restart["answered"] + restart["client_left"] + restart["abandoned"]
        assert restart["accepted"] == parts
        assert restart["abandoned"] == 0


@pytest.mark.integration
def test_no_request_fails_while_the_launcher_replaces_itself(launch):
    """SIGUSR2 under load: the socket and the workers stay, no client notices."""
    launched = launch(workers=2).until_serving(2)

    async def scenario(address):
        load = asyncio.create_task(run_load(address, MIX, 4.0))
        await asyncio.sleep(1.0)
        launched.process.send_signal(signal.SIGUSR2)
        return await load

    result = asyncio.run(scenario(launched.address()))
    assert "event=handover " in launched.text()
    assert result.failures() == {}
    assert [row["generation"] for row in launched.until_serving(2).workers()] == [1, 1]


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org", "0.0.0.0"])
def test_a_load_goes_to_this_machine_only(host):
    """Any other target is refused before a byte is sent."""
    with pytest.raises(ConfigurationError, match="is not this machine"):
        asyncio.run(run_load((host, 80), Mix(), 1.0))


@pytest.mark.parametrize("mix, seconds", [(Mix(new=501), 1.0), (Mix(), 3601.0), (Mix(), 0.0)])
def test_a_load_is_bounded(mix, seconds):
    """No flood and no endless load."""
    with pytest.raises(ConfigurationError, match="is not a drill"):
        asyncio.run(run_load(("127.0.0.1", 1), mix, seconds))


async def _serve(answer):
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[:2]


ANSWERS = {
    "empty": b"",
    "truncated": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "status 502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("why", ANSWERS)
def test_a_bad_answer_is_a_failure(why):
    """Empty, truncated, not 200: counted as failed, by reason, and never retried."""
    connections = []

    async def scenario():
        async def answer(reader, writer):
            connections.append(1)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWERS[why])
            writer.close()

        server, address = await _serve(answer)
        async with server:
            return await run_load(address, Mix(new=20, slow=0, upload=0, lazy=0, split=0, keep_alive=0), 0.5)

    result = asyncio.run(scenario())
    assert set(result.failures()) == {f"new: {why}"}
    assert len(connections) == len(result.outcomes) == result.figures().failed


def test_a_refused_connection_is_a_failure():
    """Nobody listens: every request has failed."""
    result = asyncio.run(run_load(("127.0.0.1", 1), Mix(new=20, slow=0, upload=0, lazy=0, split=0, keep_alive=1), 0.3))
    assert result.figures().failed == len(result.outcomes) > 0
    assert "new: refused" in result.failures()


def test_the_loop_is_open():
    """A server that answers nothing for a second delays no later request."""
    arrivals = []

    async def scenario():
        async def answer(reader, writer):
            arrivals.append(time.monotonic())
            await asyncio.sleep(1.0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        server, address = await _serve(answer)
        async with server:
            return await run_load(address, Mix(new=20, slow=0, upload=0, lazy=0, split=0, keep_alive=0), 0.9)

    result = asyncio.run(scenario())
    assert len(arrivals) >= 16
    assert result.figures().failed == 0
    assert max(arrivals) - min(arrivals) < 1.0


def test_figures_tell_windows_from_the_rest():
    """Requests on their way in a window are inside; a late one is failed and not among the times."""
    outcomes = [Outcome("new", 0.0, 0.02), Outcome("new", 10.0, 0.05), Outcome("new", 10.1, 6.0, "late")]
    result = LoadResult(0.0, outcomes)
    inside, outside = result.figures([(10.0, 11.0)]), result.figures([(10.0, 11.0)], inside=False)
    assert (inside.sent, inside.failed, inside.max_ms) == (2, 1, 50.0)
    assert (outside.sent, outside.failed, outside.max_ms) == (1, 0, 20.0)
    assert result.figures().gap_ms == 10_030.0
