"""Apache Kafka on a loopback port, one node that is broker and controller, for tests that need the real one.

It is found by KAFKA_HOME, a folder with `libs` or `jars`, or in the developers' `../shared/kafka`.
"""

import itertools
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from stream.demo.child_process import Child
from stream.demo.embedded_servers import free_port

HOME = Path(os.environ.get("KAFKA_HOME", Path(__file__).resolve().parents[2] / "shared" / "kafka"))
CLUSTER = "AAAAAAAAQACAAAAAAAAAAQ"
LOG = """
status = warn
appender.out.type = Console
appender.out.name = out
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def jars():
    """Return the folder of Kafka's jars, or None."""
    return next((folder for folder in (HOME / "libs", HOME / "jars") if folder.is_dir()), None)


IS_THERE = bool(jars() and shutil.which("java"))
needs_apache_kafka = pytest.mark.skipif(
    not IS_THERE,
    reason="needs Apache Kafka and Java: set KAFKA_HOME to its folder, apt-get install openjdk-17-jre-headless",
)


def command(main, *arguments, log):
    """Return the command line of one of Kafka's programs."""
    options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={log}"]
    return [shutil.which("java"), *options, "-cp", f"{jars()}/*", main, *map(str, arguments)]


def properties(folder, port, controller):
    """Return the settings of the node."""
    single = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENTS",
        "listeners": f"CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,CLIENTS:PLAINTEXT",
        "log.dirs": folder / "data",
        **{f"{topic}.replication.factor": 1 for topic in single},
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": "false",
        # Of the many small topics of tests.
        "log.index.size.max.bytes": 2**16,
        "log.cleaner.dedupe.buffer.size": 2**22,
    }


def tool(folder, address, name, *arguments):
    """Run one of Kafka's command line tools on the node of the folder."""
    log = Path(folder) / "kafka" / "log.properties"
    line = command(f"org.apache.kafka.tools.{name}", "--bootstrap-server", address, *arguments, log=log)
    subprocess.run(line, check=True, capture_output=True, timeout=PATIENCE_S)


def doors(lines, listeners):
    """Return the node's settings with more listeners: protocol and port by name."""
    places = [f"{name}://127.0.0.1:{port}" for name, (_, port) in listeners.items()]
    protocols = [f"{name}:{protocol}" for name, (protocol, _) in listeners.items()]
    more = {"listeners": places, "advertised.listeners": places, "listener.security.protocol.map": protocols}
    return lines | {name: ",".join([lines[name], *values]) for name, values in more.items()}


@contextmanager
def apache_kafka(folder, changes=None, **options):
    """Run a node as `kafka_node` does; yield its address."""
    with kafka_node(folder, changes, **options) as (address, _):
        yield address


@contextmanager
def kafka_node(folder, changes=None, *, listeners=None, users=None):
    """Run a node whose data lie in the folder, with changes of its settings; yield address and process when it serves.

    It has more listeners and users of SCRAM-SHA-512, if they are given: see `doors`, and the password by name.
    """
    folder = Path(folder) / "kafka"
    folder.mkdir(parents=True)
    port, settings, log = free_port(), folder / "server.properties", folder / "log.properties"
    lines = doors(properties(folder, port, free_port()), listeners or {}) | (changes or {})
    settings.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="ascii")
    log.write_text(LOG, encoding="ascii")
    scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in (users or {}).items()]
    known = itertools.chain.from_iterable(("--add-scram", user) for user in scram)
    formatting = ("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", settings, *known)
    with Child(command(*formatting, log=log), log=folder / "format.log") as program:
        assert program.process.wait(PATIENCE_S) == 0, program.last_words()
    with Child(command("kafka.Kafka", settings, log=log), log=folder / "node.log") as node:
        until_it_listens(node, port)
        yield f"127.0.0.1:{port}", node


def until_it_listens(node, port):
    """Return when the port takes connections."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert node.process.poll() is None, node.last_words()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("Kafka does not listen")
