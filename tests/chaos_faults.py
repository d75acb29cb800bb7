"""What breaks in a row of the table of faults, and when it is whole again. Each fault is a function of the stage."""

import contextlib
import signal
import time
from dataclasses import dataclass

import redis
from apache_kafka import until_it_listens
from chaos_load import CINES, ECGS
from dashboard_ward import dashboard_process
from waiting import wait_until

from schemas.topics import ECG_RECORDS
from stream.demo.embedded_servers import embedded_redis

TANSU, KAFKA, THREE = "embedded", "Apache Kafka", "Apache Kafka, three"
"""What a row is measured on: the embedded broker, a node of Apache Kafka, three of them."""
HOLD_S = 10.0
"""How long what is frozen, cut, full or gone stays so."""
DELAY_S = 0.15
CLOCK_BACK_S = 3600
FULL_MEMORY = "1mb"
DISK_MIB = 96


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Args:
        name: by which it is chosen.
        title: what the table calls it.
        brokers: on what it is measured.
        strike: breaks something on the stage, and returns when it is whole again.
        load: what is sent meanwhile.
        needs: what the stage must have beside workers: a link, a small disk, a false clock, a dashboard, Sentinels.
    """

    name: str
    title: str
    brokers: tuple
    strike: object
    load: object = ECGS
    needs: frozenset = frozenset()


@contextlib.contextmanager
def frozen(process):
    """Stop a process in its tracks while the block runs."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def worker_killed(stage):
    stage.workers.pop(0).process.kill()
    time.sleep(HOLD_S)
    stage.start_worker()


def worker_frozen(stage):
    with frozen(stage.workers[0].process):
        time.sleep(HOLD_S)


def worker_stopped(stage):
    stage.workers.pop(0).process.terminate()
    time.sleep(HOLD_S)
    stage.start_worker()


def worker_joins(stage):
    stage.start_worker()


def broker_frozen(stage):
    with frozen(stage.cluster.nodes[0].child.process if stage.cluster else stage.broker.process):
        time.sleep(HOLD_S)


def broker_killed(stage):
    (node,) = stage.cluster.nodes
    node.kill()
    time.sleep(HOLD_S)
    node.start()


def broker_restarted(stage):
    (node,) = stage.cluster.nodes
    node.stop()
    node.start()


def rolling_restart(stage):
    for node in stage.cluster.nodes:
        node.stop()
        node.start()
        stage.cluster.wait_in_sync()


def leader_gone(stage):
    node = stage.cluster.leader_of(stage.settings.kafka.topic(ECG_RECORDS))
    node.kill()
    time.sleep(HOLD_S)
    node.start()


def two_of_three_gone(stage):
    gone = stage.cluster.nodes[:2]
    for node in gone:
        node.kill()
    time.sleep(HOLD_S)
    for node in gone:
        node.launch()
    for node in gone:
        until_it_listens(node.child, node.port)
    stage.cluster.wait_in_sync()


def disk_full(stage):
    """Fill the disk of the node's data: Kafka gives the disk up and ends. Then there is room, and it is started."""
    (node,) = stage.cluster.nodes
    filler = stage.disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
    end = time.monotonic() + 2 * HOLD_S
    while node.child.running and time.monotonic() < end:
        time.sleep(0.1)
    stage.notes.append(f"Kafka {'went on' if node.child.running else 'ended'}")
    filler.unlink()
    if not node.child.running:
        node.start()


def link_cut(stage):
    stage.link.sever()
    time.sleep(HOLD_S)
    stage.link.mend()


def link_slow(stage):
    stage.link.delay_s = DELAY_S
    time.sleep(2 * HOLD_S)
    stage.link.delay_s = 0.0


def sender_clock_back(stage):
    stage.load.shift_ms = -CLOCK_BACK_S * 1000
    time.sleep(HOLD_S)
    stage.load.shift_ms = 0


def worker_clock_back(stage):
    stage.set_clock(-CLOCK_BACK_S)
    time.sleep(HOLD_S)
    stage.set_clock(0)


def redis_killed(stage):
    stage.redis.process.kill()
    stage.redis.process.wait()
    time.sleep(HOLD_S)
    port = int(stage.settings.redis.url.rpartition(":")[2].removesuffix("/0"))
    _, stage.redis = stage.stack.enter_context(embedded_redis(stage.folder, port=port))


def redis_frozen(stage):
    with frozen(stage.redis.process):
        time.sleep(HOLD_S)


def redis_full(stage):
    with redis.Redis.from_url(stage.settings.redis.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", FULL_MEMORY)
        time.sleep(HOLD_S)
        client.config_set("maxmemory", "256mb")


def redis_failed_over(stage):
    """Kill the master, and return when the Sentinels have made the replica one."""
    master = stage.sentinels.master()
    stage.sentinels.servers[master].process.kill()
    wait_until(lambda: stage.sentinels.master() != master, poll_s=0.2)


def dashboard_killed(stage):
    stage.dashboard.close()
    time.sleep(HOLD_S)
    stage.open_dashboard()


EITHER, NODE, CLUSTER = (TANSU, KAFKA), (KAFKA,), (THREE,)
FAULTS = (
    Fault("worker-killed", "a worker is killed; another starts after 10 s", EITHER, worker_killed),
    Fault("worker-frozen", "a worker is frozen for 10 s", EITHER, worker_frozen),
    Fault("worker-stopped", "a worker is stopped by SIGTERM; another starts after 10 s", EITHER, worker_stopped),
    Fault("worker-joins", "a third worker joins", EITHER, worker_joins),
    Fault("broker-frozen", "the broker is frozen for 10 s", EITHER, broker_frozen),
    Fault("broker-killed", "the broker is killed, and started after 10 s", NODE, broker_killed),
    Fault("broker-restarted", "the broker is restarted", NODE, broker_restarted),
    Fault("rolling", "three brokers are restarted in turn", CLUSTER, rolling_restart),
    Fault("leader-gone", "the leader is killed, and started after 10 s", CLUSTER, leader_gone),
    Fault("two-gone", "two of three brokers are killed, and started after 10 s", CLUSTER, two_of_three_gone),
    Fault("disk-full", "the broker's disk is full", NODE, disk_full, needs=frozenset({"disk"})),
    Fault("link-cut", "the link to the broker is cut for 10 s", EITHER, link_cut, needs=frozenset({"link"})),
    Fault(
        "link-slow", "the link to the broker takes 150 ms longer each way, for 20 s", EITHER, link_slow,
        needs=frozenset({"link"}),
    ),
    Fault("sender-clock", "the sender's clock goes back by an hour for 10 s", EITHER, sender_clock_back),
    Fault(
        "worker-clock", "the workers' clock goes back by an hour for 10 s", EITHER, worker_clock_back,
        needs=frozenset({"clock"}),
    ),
    Fault("redis-killed", "Redis is killed, and started empty after 10 s", EITHER, redis_killed),
    Fault("redis-frozen", "Redis is frozen for 10 s", EITHER, redis_frozen),
    Fault("redis-full", "Redis is full for 10 s", EITHER, redis_full),
    Fault(
        "redis-failover", "the master of Redis is killed, and Sentinels make the replica one", EITHER,
        redis_failed_over, needs=frozenset({"sentinels"}),
    ),
    Fault(
        "cmr-worker-killed", "a cmr-worker is killed; another starts after 10 s (cines)", EITHER, worker_killed, CINES
    ),
    Fault("cmr-redis-killed", "Redis is killed, and started empty after 10 s (cines)", EITHER, redis_killed, CINES),
    Fault(
        "cmr-redis-failover", "the master of Redis is killed, and Sentinels make the replica one (cines)", EITHER,
        redis_failed_over, CINES, needs=frozenset({"sentinels"}),
    ),
    Fault(
        "dashboard-killed", "the dashboard is killed, and started after 10 s", EITHER, dashboard_killed,
        needs=frozenset({"dashboard"}),
    ),
)  # fmt: skip


def set_clock_file(path, seconds):
    """Tell libfaketime by how much the clock is off."""
    written = path.with_suffix(".new")
    written.write_text(f"{seconds:+d}s\n" if seconds else "+0\n")
    written.replace(path)


def open_dashboard(settings, log):
    """Return a running dashboard, which `close` kills."""
    stack = contextlib.ExitStack()
    address, child = stack.enter_context(dashboard_process(settings, log))
    stack.address, stack.child = address, child
    stack.callback(child.process.kill)
    return stack
