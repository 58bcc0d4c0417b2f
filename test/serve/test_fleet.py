"""The rules by which workers are started, replaced, retried and stopped; no process is started here."""

import signal

import pytest

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.serve.spec import Child, Limits, Timing

KILLED, EXIT_1, EXIT_4, EXIT_0 = signal.SIGKILL, 1 << 8, 4 << 8, 0


@pytest.fixture
def one(make_fleet):
    """One worker, serving."""
    fleet = make_fleet()
    fleet.became_ready(1000, 1.0)
    return fleet


def replace(fleet, name="web-1", now=10.0, **options):
    """Ask for a replacement and let it begin."""
    fleet.replacements.ask(name, "why", "test", **options)
    fleet.tick(now)


def test_a_slot_for_each_worker_and_one_for_the_scheduler(make_fleet, hands):
    """The launcher starts as many web workers as asked, and the scheduler."""
    make_fleet(workers=2, scheduler=Child(command=("s",)))
    assert [name for name, _generation, _pid in hands.started] == ["web-1", "web-2", "scheduler"]


def test_the_successor_is_started_before_anything_is_asked_of_the_old_worker(one, hands):
    """A replacement begins by starting the next generation and announcing it, nothing else."""
    replace(one)
    assert hands.started[-1] == ("web-1", 2, 1001)
    assert hands.signals == [(1000, "SIGUSR1")]


def test_the_old_worker_retires_when_the_successor_is_ready(one, hands):
    """Ready comes first, SIGTERM to the old second."""
    replace(one)
    one.became_ready(1001, 12.0)
    assert hands.signals[-1] == (1000, "SIGTERM")
    one.ended(1000, EXIT_0, 13.0)
    assert hands.records[-1]["outcome"] == "replaced"
    assert (hands.records[-1]["old_pid"], hands.records[-1]["new_pid"]) == (1000, 1001)


def test_a_stranger_who_announces_nothing_is_not_signalled(make_fleet, hands):
    """A command that is not ours gets no SIGUSR1: it would die of it."""
    fleet = make_fleet(web=Child(command=("x",), announces=False))
    fleet.became_ready(1000, 1.0)
    replace(fleet)
    assert hands.signals == []


def test_a_failed_successor_leaves_the_old_worker_serving(one, hands):
    """The successor dies: the announcement is withdrawn, a flag is raised, the old one is not retired."""
    replace(one)
    one.ended(1001, EXIT_1, 11.0)
    assert hands.signals == [(1000, "SIGUSR1"), (1000, "SIGUSR2")]
    assert hands.records[-1]["outcome"] == "successor-failed"
    assert "exit code 1" in one.flags["web-1"]
    assert one.slots["web-1"].current.pid == 1000


def test_a_silent_successor_is_killed_at_its_time(one, hands):
    """Not ready within the limit: it is killed, and the old one serves on."""
    replace(one)
    one.tick(69.0)
    assert (1001, "SIGKILL") not in hands.signals
    one.tick(70.1)
    assert hands.signals[-1] == (1001, "SIGKILL")
    one.ended(1001, KILLED, 70.2)
    assert "not ready within 60 s" in hands.records[-1]["detail"]


def test_a_worker_over_its_limit_is_tried_again_with_growing_pauses(one, hands):
    """A worker that asked for its successor itself still needs one when that fails: 2 s, 4 s, … later."""
    one.replacements.wanted_by(1000, "memory", 10.0)
    pauses, now = [], 10.0
    for _attempt in range(9):
        one.tick(now)
        one.ended(hands.started[-1][2], EXIT_1, now)
        pauses.append(one.next_deadline() - now)
        now = one.next_deadline()
    assert 1.6 <= pauses[0] <= 2.4
    assert 3.2 <= pauses[1] <= 4.8
    assert all(pause <= 360 for pause in pauses)
    assert pauses[-1] >= 240


def test_a_boot_that_takes_long_is_hurried(one, hands):
    """Those that serve go first, but not for ever: on a busy machine a successor would never be ready."""
    replace(one)
    one.tick(15.0)
    assert hands.hurried == [1000]
    one.tick(20.5)
    one.tick(21.5)
    assert hands.hurried == [1000, 1001]


def test_a_wish_by_hand_is_tried_once(one):
    """A restart by hand ends with its failure; the operator decides."""
    replace(one)
    one.ended(1001, EXIT_1, 11.0)
    assert one.replacements.in_progress() == []


def test_a_successor_that_no_process_can_be_made_for_has_failed(one, hands):
    """The old worker serves on, was told of no successor, and the next attempt comes after a pause."""
    one.replacements.wanted_by(1000, "memory", 10.0)
    hands.no_process_left = True
    one.tick(10.0)
    assert hands.records[-1]["detail"] == "it could not be started: Resource temporarily unavailable"
    assert (1000, "SIGUSR1") not in hands.signals
    hands.no_process_left = False
    one.tick(one.next_deadline())
    assert hands.started[-1][0] == "web-1"


def test_a_dead_worker_that_cannot_be_replaced_is_tried_again(one, hands):
    """No process can be made for it now: a flag says so, and it is started when one can."""
    hands.no_process_left = True
    one.ended(1000, KILLED, 10.0)
    assert "could not be started" in one.flags["web-1"]
    hands.no_process_left = False
    one.tick(one.next_deadline())
    assert hands.started[-1][0] == "web-1"


def test_a_slot_given_up_while_its_old_worker_drains_holds_up_nobody(make_fleet, hands):
    """SIGTTOU between READY and the end of the drain: the record is closed, and other replacements go on."""
    fleet = make_fleet(workers=2)
    fleet.became_ready(1000, 1.0)
    fleet.became_ready(1001, 1.0)
    replace(fleet, "web-2")
    fleet.became_ready(1002, 11.0)
    fleet.change_workers(1, 12.0)
    fleet.replacements.drained(1001, {"accepted": 5, "final": True})
    fleet.ended(1001, EXIT_0, 13.0)
    assert hands.records[-1]["outcome"] == "replaced"
    fleet.ended(1002, EXIT_0, 14.0)
    assert fleet.replacements.at_rest()


def test_a_slot_given_up_while_its_last_hope_boots_holds_up_nobody(make_fleet):
    """The old worker has died, the successor boots, SIGTTOU: nothing is being replaced any more."""
    fleet = make_fleet(workers=2)
    fleet.became_ready(1000, 1.0)
    fleet.became_ready(1001, 1.0)
    replace(fleet, "web-2")
    fleet.ended(1001, KILLED, 11.0)
    fleet.change_workers(1, 12.0)
    fleet.ended(1002, EXIT_0, 13.0)
    assert fleet.replacements.at_rest()


def test_a_scheduler_that_no_process_can_be_made_for_comes_back(make_fleet, hands):
    """Its old process has gone by then: it is started as soon as there is room."""
    fleet = make_fleet(scheduler=Child(command=("s",)))
    fleet.became_ready(1000, 1.0)
    fleet.became_ready(1001, 1.0)
    replace(fleet, "scheduler")
    hands.no_process_left = True
    fleet.ended(1001, EXIT_0, 11.0)
    hands.no_process_left = False
    fleet.tick(fleet.next_deadline())
    assert hands.started[-1][:2] == ("scheduler", 3)


def test_a_wish_whose_moment_has_passed_is_no_deadline(one, monkeypatch):
    """Held back by the budget, it would have the launcher wake without a pause."""
    one.replacements.wanted_by(1000, "memory", 10.0)
    one.tick(10.0)
    one.ended(1001, EXIT_1, 11.0)
    monkeypatch.setattr(one.replacements.gate, "refusal", lambda *_arguments: "the budget is spent")
    now = one.next_deadline()
    one.tick(now)
    assert one.next_deadline() is None


def test_a_stopping_fleet_waits_for_no_new_start(make_fleet):
    """A slot in its pause is not started any more: its moment is no deadline."""
    fleet = make_fleet(workers=2)
    fleet.became_ready(1000, 1.0)
    fleet.ended(1001, EXIT_1, 2.0)
    fleet.stop(3.0)
    assert fleet.next_deadline() == pytest.approx(3.0 + 30.0, abs=20.0)
    assert fleet.next_deadline() > 20.0


@pytest.mark.parametrize("rows", [None, 3, "x", [None, {"path": "/"}]])
def test_a_drain_report_of_another_shape_harms_nobody(one, hands, rows):
    """Any command may be a worker, and say what it likes."""
    replace(one)
    one.became_ready(1001, 12.0)
    one.replacements.drained(1000, {"abandoned_requests": rows, "final": True})
    one.ended(1000, EXIT_0, 13.0)
    assert hands.records[-1]["outcome"] == "replaced"


def test_success_takes_the_flag_down(one):
    """A ready successor clears the flag and the pauses."""
    replace(one)
    one.ended(1001, EXIT_1, 11.0)
    replace(one, now=12.0)
    one.became_ready(1002, 13.0)
    assert one.flags == {}
    assert one.slots["web-1"].failures == 0


def test_one_replacement_at_a_time_over_all_workers(make_fleet, hands):
    """The second replacement waits until the first one's old worker has gone."""
    fleet = make_fleet(workers=2)
    fleet.became_ready(1000, 1.0)
    fleet.became_ready(1001, 1.0)
    for name in ("web-1", "web-2"):
        fleet.replacements.ask(name, "why", "test")
    fleet.tick(2.0)
    fleet.tick(3.0)
    fleet.became_ready(1002, 4.0)
    fleet.tick(5.0)
    assert len(hands.started) == 3
    fleet.ended(1000, EXIT_0, 6.0)
    fleet.tick(6.0)
    assert hands.started[-1][:2] == ("web-2", 2)


def test_two_hundred_wishes_are_one_restart(one, hands):
    """Asking again for what is already wanted gives the same restart."""
    ids = {one.replacements.ask("web-1", "why", "test").id for _each in range(200)}
    one.tick(1.0)
    ids |= {one.replacements.ask("web-1", "why", "test").id for _each in range(200)}
    assert len(ids) == 1
    assert len(hands.started) == 2


def test_an_unknown_process_is_refused(one):
    """A process that does not exist is named, with those that do."""
    with pytest.raises(ConfigurationError, match="web-7") as caught:
        one.replacements.ask("web-7", "why", "test")
    assert "web-1" in caught.value.hint


def test_a_worker_past_its_drain_time_is_killed_and_said_so(one, hands):
    """The guard ends a drain after 30 s and the grace to exit; the record says drain-timeout."""
    replace(one)
    one.became_ready(1001, 12.0)
    one.tick(12.0 + 34.9)
    assert hands.signals[-1] == (1000, "SIGTERM")
    one.tick(12.0 + 35.1)
    assert hands.signals[-1] == (1000, "SIGKILL")
    one.ended(1000, KILLED, 48.0)
    assert hands.records[-1]["outcome"] == "drain-timeout"


def test_the_balance_sheet_is_part_of_the_record(one, hands):
    """What the worker reports of its drain is in the restart's record."""
    replace(one)
    one.became_ready(1001, 12.0)
    sheet = {"accepted": 9, "answered": 7, "client_left": 1, "abandoned": 1, "in_flight_at_drain": 3, "final": True}
    one.replacements.drained(1000, {**sheet, "abandoned_requests": [{"path": "/x", "age_s": 31.0, "state": "queued"}]})
    one.ended(1000, EXIT_0, 13.0)
    record = hands.records[-1]
    assert [record[name] for name in ("accepted", "answered", "client_left", "abandoned")] == [9, 7, 1, 1]
    assert record["abandoned_requests"][0]["path"] == "/x"
    assert record["outcome"] == "drain-timeout"
    assert record["drained_at"] == record["exited_at"] == "2023-11-14T22:13:20.000Z"


def test_a_worker_that_dies_is_replaced_at_once_and_the_cause_named(one, hands):
    """A segfault is made good immediately."""
    one.ended(1000, signal.SIGSEGV, 5.0)
    assert hands.started[-1] == ("web-1", 2, 1001)
    one.became_ready(1001, 6.0)
    assert hands.records[-1]["reason"] == "died: killed by SIGSEGV"
    assert hands.records[-1]["outcome"] == "replaced"


def test_a_worker_that_keeps_dying_is_not_a_spin(one, hands):
    """Six deaths within a minute: the next start waits, and a flag says why."""
    pid = 1000
    for death in range(6):
        one.ended(pid, signal.SIGSEGV, 5.0 + death)
        pid = hands.started[-1][2]
        one.became_ready(pid, 5.5 + death)
    assert len(hands.started) == 6
    assert "died 6 times" in one.flags["web-1"]
    one.tick(10.5)
    assert len(hands.started) == 6
    one.tick(13.0)
    assert len(hands.started) == 7


def test_slow_deaths_are_within_the_budget(one, hands):
    """One death every two minutes is replaced at once for ever."""
    pid = 1000
    for death in range(20):
        one.ended(pid, signal.SIGSEGV, 120.0 * death)
        pid = hands.started[-1][2]
        one.became_ready(pid, 120.0 * death + 1)
    assert len(hands.started) == 21


def test_the_old_worker_dies_while_its_successor_boots(one, hands):
    """The successor takes the slot; no third process is started."""
    replace(one)
    one.ended(1000, signal.SIGKILL, 11.0)
    one.became_ready(1001, 12.0)
    assert len(hands.started) == 2
    assert hands.records[-1]["outcome"] == "replaced"
    assert "died meanwhile" in hands.records[-1]["detail"]
    assert one.replacements.active is None


def test_both_generations_die(one, hands):
    """Old and successor dead: the slot is started again, and the next replacement is not blocked."""
    replace(one)
    one.ended(1000, signal.SIGKILL, 11.0)
    one.ended(1001, signal.SIGKILL, 12.0)
    one.tick(20.0)
    assert hands.started[-1][0:2] == ("web-1", 3)
    one.became_ready(1002, 21.0)
    assert one.replacements.active is None
    replace(one, now=22.0)
    assert hands.started[-1][0:2] == ("web-1", 4)


def test_there_are_never_two_schedulers(make_fleet, hands):
    """The scheduler stops before the next one starts."""
    fleet = make_fleet(scheduler=Child(command=("s",)))
    fleet.became_ready(1000, 1.0)
    fleet.became_ready(1001, 1.0)
    replace(fleet, "scheduler")
    assert hands.signals == [(1001, "SIGTERM")]
    assert len(hands.started) == 2
    fleet.ended(1001, EXIT_0, 15.0)
    assert hands.started[-1][0:2] == ("scheduler", 2)
    fleet.became_ready(1002, 16.0)
    assert hands.records[-1]["outcome"] == "replaced"
    assert hands.records[-1]["new_pid"] == 1002


def test_no_room_no_overlap(one, hands):
    """Without memory for two, no successor is started, the lack is said, and it is tried again."""
    hands.bytes_free = 100
    replace(one)
    assert len(hands.started) == 1
    assert "no room for a successor of web-1" in one.flags["web-1"]
    hands.bytes_free = 10_000
    one.tick(one.next_deadline())
    assert len(hands.started) == 2


def test_a_first_worker_that_refuses_ends_the_launcher_with_its_reason(make_fleet, hands):
    """A configuration that no worker can run with (exit code 4) is not retried."""
    fleet = make_fleet()
    fleet.workers[1000].why = "the memory limit 10 MiB is below the 60 MiB that a fresh worker needs"
    fleet.ended(1000, EXIT_4, 1.0)
    assert fleet.failed == (
        "web-1 ended before it was ready: the memory limit 10 MiB is below the 60 MiB that a fresh worker needs",
        4,
    )


def test_a_first_boot_is_tried_three_times(make_fleet, hands):
    """A database that is not up yet gets two more chances; then the launcher gives up."""
    fleet = make_fleet()
    for attempt, pid in enumerate((1000, 1001, 1002)):
        assert fleet.failed is None
        fleet.ended(pid, EXIT_1, 10.0 * attempt)
        fleet.tick(10.0 * attempt + 9)
    assert fleet.failed[1] == 1


def test_stopping_retires_everything_once(make_fleet, hands):
    """SIGTERM twice is one stop, and nothing is started any more."""
    fleet = make_fleet(workers=2)
    fleet.became_ready(1000, 1.0)
    fleet.stop(2.0)
    fleet.stop(2.1)
    assert sorted(hands.signals) == [(1000, "SIGTERM"), (1001, "SIGTERM")]
    fleet.ended(1000, EXIT_0, 3.0)
    fleet.ended(1001, KILLED, 3.0)
    fleet.tick(400.0)
    assert fleet.workers == {}
    assert len(hands.started) == 2
    with pytest.raises(LeakwatchError, match="stopping"):
        fleet.replacements.ask("web-1", "why", "test")


def test_a_quick_stop_lasts_a_second(one, hands):
    """SIGQUIT: what has not ended within a second is killed."""
    one.stop(2.0, quick=True)
    one.tick(3.1)
    assert hands.signals == [(1000, "SIGTERM"), (1000, "SIGKILL")]


def test_stopping_during_a_replacement_ends_both_generations(one, hands):
    """Neither the old nor the successor outlives the launcher, and the record is closed."""
    replace(one)
    one.stop(11.0)
    assert {(1000, "SIGTERM"), (1001, "SIGTERM")} <= set(hands.signals)
    assert hands.records[-1]["outcome"] == "successor-failed"


def test_more_and_fewer_workers(one, hands):
    """TTIN adds a slot, TTOU drains the last one, and the last worker of all stays."""
    one.change_workers(2, 2.0)
    assert hands.started[-1][0] == "web-2"
    one.became_ready(1001, 3.0)
    one.change_workers(1, 4.0)
    assert hands.signals == [(1001, "SIGTERM")]
    one.ended(1001, EXIT_0, 5.0)
    assert len(hands.started) == 2
    one.change_workers(0, 6.0)
    assert list(one.slots) == ["web-1"]


def test_ready_from_a_stranger_changes_nothing(one, hands):
    """Only a child that is starting can become ready."""
    replace(one)
    one.became_ready(77, 11.0)
    one.became_ready(1000, 11.0)
    assert (1000, "SIGTERM") not in hands.signals


def test_a_wish_from_a_retiring_worker_is_ignored(one):
    """A worker that is being replaced cannot ask for another successor of its slot."""
    replace(one)
    one.became_ready(1001, 12.0)
    one.replacements.wanted_by(1000, "memory", 10.0)
    assert len(one.replacements.in_progress()) == 1


def test_times_are_the_specifications(make_fleet, hands):
    """The drain time of the specification is kept."""
    fleet = make_fleet(timing=Timing(drain_timeout_s=3.0, exit_grace_s=1.0), limits=Limits(memory_bytes=5))
    fleet.became_ready(1000, 1.0)
    replace(fleet)
    fleet.became_ready(1001, 12.0)
    assert fleet.next_deadline() == 16.0


def test_an_autopsy_holds_up_nobody(make_fleet, hands):
    """An old worker that has drained is still examined: the next replacement begins, and both records are closed."""
    fleet = make_fleet(workers=2)
    for pid in (1000, 1001):
        fleet.became_ready(pid, 1.0)
    replace(fleet, "web-1")
    fleet.became_ready(1002, 12.0)
    fleet.replacements.drained(1000, {"accepted": 1, "answered": 1, "client_left": 0, "abandoned": 0, "final": True})
    replace(fleet, "web-2", now=13.0)
    assert hands.started[-1][:2] == ("web-2", 2)
    assert [wish.process for wish in fleet.replacements.in_progress()] == ["web-1", "web-2"]
    fleet.replacements.examined(1000, "/autopsy")
    fleet.ended(1000, EXIT_0, 14.0)
    assert (hands.records[-1]["process"], hands.records[-1]["autopsy"]) == ("web-1", "/autopsy")
    fleet.became_ready(1003, 15.0)
    fleet.ended(1001, EXIT_0, 16.0)
    assert hands.records[-1]["process"] == "web-2"
    assert fleet.replacements.in_progress() == []


def served_and_replaced(fleet, hands, at, reason="memory"):
    """Have the current worker ask at a moment and be replaced; return its successor's pid."""
    old = fleet.slots["web-1"].current.pid
    fleet.replacements.wanted_by(old, reason, at, repeated=True)
    fleet.tick(at)
    fleet.became_ready(hands.started[-1][2], at + 1)
    fleet.ended(old, EXIT_0, at + 2)
    return hands.started[-1][2]


def test_a_restart_that_does_not_help_is_not_repeated(one, hands):
    """Back above 80 % of its limit in a tenth of its predecessor's life: no more restarts, said with both figures."""
    pid = served_and_replaced(one, hands, 1000.0)
    one.replacements.near_limit(pid, 1060.0)
    assert "60 s, its predecessor lasted 1000 s: restarts do not help" in one.flags["web-1"]
    one.replacements.wanted_by(pid, "memory", 1070.0, repeated=True)
    one.tick(1070.0)
    assert len(hands.started) == 2
    one.replacements.ask("web-1", "raised the limit", "me")
    one.tick(1080.0)
    one.became_ready(hands.started[-1][2], 1081.0)
    assert (len(hands.started), one.flags) == (3, {})


def test_a_busy_morning_after_a_quiet_night_is_no_relapse(one, hands):
    """Lives are measured in requests too, where the worker tells them: as many as its predecessor, only sooner."""
    one.workers[1000].served = 5000
    pid = served_and_replaced(one, hands, 40_000.0)
    one.workers[pid].served = 4000
    one.replacements.near_limit(pid, 40_600.0)
    one.replacements.wanted_by(pid, "memory", 40_700.0, repeated=True)
    one.tick(40_700.0)
    assert (len(hands.started), one.flags) == (3, {})


def test_a_worker_that_lasts_as_long_as_its_predecessor_is_replaced_at_once(one, hands):
    """A steady leak: every life is alike, and no restart is put off."""
    pid, now = 1000, 0.0
    for _round in range(5):
        now += 600
        one.replacements.wanted_by(pid, "memory", now)
        one.tick(now)
        old, pid = pid, hands.started[-1][2]
        one.became_ready(pid, now + 1)
        one.ended(old, EXIT_0, now + 2)
    assert len(hands.started) == 6
    assert one.flags == {}


def test_the_wall_clock_may_jump(one, hands):
    """Deadlines do not read it: an hour back or forth changes records, not what is done."""
    moments = iter([1_700_000_000.0, 1_699_996_400.0, 1_700_003_600.0] * 10)
    hands.wall = lambda: next(moments)
    replace(one)
    assert one.next_deadline() == 70.0
    one.became_ready(1001, 12.0)
    assert one.next_deadline() == 47.0
    one.ended(1000, EXIT_0, 13.0)
    assert hands.records[-1]["outcome"] == "replaced"
