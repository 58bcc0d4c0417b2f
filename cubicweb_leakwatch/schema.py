"""What leakwatch records. Managers read it; only leakwatch itself writes, over internal connections.

Bytes unless the name says otherwise; an unknown number is null, never 0. Numbers that vary in their keys (types, views)
are JSON text: one row a snapshot, however many types it names.
"""

from yams.buildobjs import BigInt, Boolean, EntityType, Float, Int, RelationDefinition, String, TZDatetime

# An empty tuple means that no user may, not even a manager: internal connections are not asked.
RECORD_PERMISSIONS = {"read": ("managers",), "add": (), "update": (), "delete": ()}
LINK_PERMISSIONS = {"read": ("managers",), "add": (), "delete": ()}


class LeakwatchProcess(EntityType):
    """one operating system process of the instance, from its start to its end"""

    __permissions__ = RECORD_PERMISSIONS
    __unique_together__ = [("host", "pid", "started_at")]

    host = String(required=True, maxsize=255, description="name of the host it runs on")
    name = String(required=True, maxsize=64, indexed=True, description="its slot: web-1, web-2, scheduler")
    role = String(required=True, maxsize=32, description="web, scheduler or other")
    pid = BigInt(required=True)
    started_at = TZDatetime(required=True, indexed=True)
    ended_at = TZDatetime(indexed=True, description="when it was last known to end; null while it lives")
    end_reason = String(description="why it ended, as far as anyone could tell")
    generation = Int(description="which process of its slot it is, counted by the launcher")
    python = String(maxsize=64, description="version of the interpreter")
    versions = String(description="JSON: installed versions by distribution")
    memory_limit = BigInt(description="private memory past which it is replaced")


class MemorySnapshot(EntityType):
    """what one process held at one moment, or the mean over an hour or a day once thinned"""

    __permissions__ = RECORD_PERMISSIONS
    __unique_together__ = [("snapshot_of", "t")]

    t = Float(required=True, indexed=True, description="when it was taken, in seconds since 1970 (UTC)")
    rss = BigInt(required=True, description="resident set size")
    uss = BigInt(description="memory that would come back if the process ended")
    pss = BigInt(description="its fair share of the memory that it shares")
    python_blocks = BigInt(description="count of sys.getallocatedblocks")
    malloc_used = BigInt(description="in use, as the C allocator counts it")
    malloc_free = BigInt(description="free but not given back by the C allocator")
    gc_objects = BigInt(description="objects that the garbage collector tracks")
    garbage = BigInt(description="objects in gc.garbage")
    requests = BigInt(description="requests served since the process started")
    in_flight = BigInt(description="requests accepted and not yet answered")
    fds = BigInt(description="open file descriptors")
    threads = BigInt(description="threads")
    cgroup_limit = BigInt(description="memory limit of its control group")
    cgroup_pressure = Float(description="percent of the minute in which its control group waited for memory")
    types = String(description="JSON: count of objects by type, the most numerous ones")
    views = String(description="JSON: requests served by view or route since the process started")
    tasks = String(description="JSON: runs of each looping task, and what they left behind")
    note = String(description="what someone wrote beside it")
    merged = Int(default=1, description="how many snapshots it stands for")
    spread = String(description="JSON: lowest and highest of each number, once merged")


class LeakFinding(EntityType):
    """what leakwatch concluded about a process, from when it first said so until it no longer held"""

    __permissions__ = RECORD_PERMISSIONS

    host = String(required=True, maxsize=255)
    process = String(required=True, maxsize=64, indexed=True, description="the slot it is about")
    kind = String(required=True, maxsize=32)
    leak = Boolean(default=False)
    since = TZDatetime(description="when the growth began")
    rate_bytes_per_h = Float()
    rate_low = Float(description="lower end of the 95 % interval")
    rate_high = Float(description="upper end of the 95 % interval")
    bytes_per_request = Float()
    confidence = Float()
    culprits = String(description="JSON: types whose growth explains the memory's")
    holder = String(description="what keeps the culprits alive")
    views = String(description="JSON: bytes a request by view")
    ceiling = BigInt(description="where a plateau ends")
    seconds_to_limit = Float()
    advice = String()
    evidence = String(description="JSON: the figures that the conclusion rests on")
    opened_at = TZDatetime(required=True, indexed=True)
    closed_at = TZDatetime(indexed=True)


class WorkerRestart(EntityType):
    """one replacement of a worker, with its balance sheet: accepted = answered + client left + abandoned"""

    __permissions__ = RECORD_PERMISSIONS
    __unique_together__ = [("host", "restart_id")]

    host = String(required=True, maxsize=255)
    restart_id = String(required=True, maxsize=128, description="the launcher's own name of this restart")
    process = String(required=True, maxsize=64, indexed=True)
    reason = String()
    asked_by = String()
    requested_at = TZDatetime(required=True, indexed=True)
    ready_at = TZDatetime(description="when the successor answered")
    drained_at = TZDatetime()
    exited_at = TZDatetime()
    in_flight_at_drain = Int()
    accepted = BigInt()
    answered = BigInt()
    client_left = BigInt()
    abandoned = BigInt()
    rss_before = BigInt()
    rss_after = BigInt()
    old_pid = BigInt()
    new_pid = BigInt()
    outcome = String(maxsize=32, description="replaced, successor-failed or drain-timeout")
    detail = String(description="why it did not go as it should")
    trimmed = BigInt(description="bytes that the allocator had given back before")
    autopsy = String(description="JSON: where the dump of the old worker is, its top growth, cycles and holders")
    recorded_at = TZDatetime(indexed=True, description="when it was recorded, by the database's clock")


class RestartRequest(EntityType):
    """the wish to replace a process, for the host where it runs; times are by the database's clock"""

    __permissions__ = RECORD_PERMISSIONS

    host = String(required=True, maxsize=255, indexed=True)
    process = String(maxsize=64, description="its slot; null for every process of the host")
    reason = String()
    asked_by = String()
    requested_at = TZDatetime(required=True, indexed=True)
    taken_at = TZDatetime(description="when its host asked the launcher; null until then")
    restart_ids = String(description="JSON: the launcher's own names of the restarts that came of it")
    refusal = String(description="why nothing came of it")


class snapshot_of(RelationDefinition):
    """the process that a snapshot was taken of"""

    __permissions__ = LINK_PERMISSIONS
    subject = "MemorySnapshot"
    object = "LeakwatchProcess"
    cardinality = "1*"
    composite = "object"
    inlined = True


class finding_of(RelationDefinition):
    """the process that a finding was last seen in"""

    __permissions__ = LINK_PERMISSIONS
    subject = "LeakFinding"
    object = "LeakwatchProcess"
    cardinality = "?*"
    inlined = True


class restart_of(RelationDefinition):
    """the process that was replaced"""

    __permissions__ = LINK_PERMISSIONS
    subject = "WorkerRestart"
    object = "LeakwatchProcess"
    cardinality = "?*"
    inlined = True
