"""What tests of the fleet share: statuses of waitpid, and a replacement seen through."""

EXIT_0, EXIT_1 = 0, 1 << 8


def finish(fleet, hands, now, old=None):
    """Have the successor that was started become ready and the old worker leave; return the pid that serves."""
    slot = fleet.slots["web-1"] if old is None else fleet.slots[fleet.workers[old].name]
    if slot.successor is not None:
        retiring = slot.current.pid
        fleet.became_ready(slot.successor.pid, now + 1)
        fleet.ended(retiring, EXIT_0, now + 2)
    return slot.current.pid
