"""Apache Kafka of several nodes that single faults can hit: each can be killed, frozen, stopped and started again."""

import subprocess
import time
from pathlib import Path

from apache_kafka import CLUSTER, LOG, command, properties, until_it_listens
from waiting import PATIENCE_S

from stream.demo.child_process import Child
from stream.demo.embedded_servers import free_port

TOPICS_TOOL = "org.apache.kafka.tools.TopicCommand"


class Node:
    """One node: its port, its settings and, while it runs, its process."""

    def __init__(self, number, folder):
        self.number, self.folder = number, Path(folder) / f"node-{number}"
        self.port, self.controller = free_port(), free_port()
        self.log = self.folder / "log.properties"
        self.child = None
        self.folder.mkdir(parents=True)
        self.log.write_text(LOG, encoding="ascii")

    def prepare(self, changes):
        """Write the settings, and format the data's folder."""
        lines = properties(self.folder, self.port, self.controller) | changes | {"node.id": self.number}
        self.settings = self.folder / "server.properties"
        self.settings.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="ascii")
        formatting = ("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", self.settings)
        subprocess.run(command(*formatting, log=self.log), check=True, capture_output=True, timeout=PATIENCE_S)

    def launch(self):
        """Start the process."""
        self.child = Child(command("kafka.Kafka", self.settings, log=self.log), log=self.folder / "node.log")

    def start(self):
        """Start it, and return when it serves."""
        self.launch()
        until_it_listens(self.child, self.port)

    def kill(self):
        """End it as a power cut does."""
        self.child.process.kill()
        self.child.process.wait(PATIENCE_S)

    def stop(self):
        """End it as an operator does."""
        self.child.process.terminate()
        self.child.process.wait(PATIENCE_S)


class KafkaCluster:
    """Nodes that are broker and controller at once.

    Args:
        folder: of the data and the logs.
        nodes: how many.
        data: the folder of the data, of a single node, where it is another.
        advertised: the port to which a single node sends its clients.
    """

    def __init__(self, folder, nodes, *, data=None, advertised=None):
        self.nodes = [Node(number, folder) for number in range(1, nodes + 1)]
        self._data, self._advertised = data, advertised

    @property
    def address(self):
        """Where clients ask first."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self):
        for node in self.nodes:
            node.prepare(self._changes())
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            until_it_listens(node.child, node.port)
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            if node.child and node.child.running:
                node.child.process.kill()
                node.child.process.wait(PATIENCE_S)

    def _changes(self):
        """Return what the number of nodes, and a disk of its own, change."""
        replicas = min(3, len(self.nodes))
        factors = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        changes = {
            "controller.quorum.voters": ",".join(f"{node.number}@127.0.0.1:{node.controller}" for node in self.nodes),
            **{f"{topic}.replication.factor": replicas for topic in factors},
            "offsets.topic.num.partitions": 8,
            "min.insync.replicas": max(1, replicas - 1),
            # A soak writes more than a disk holds.
            "log.segment.bytes": 2**24,
            "log.retention.bytes": 2**27,
            "log.retention.check.interval.ms": 30_000,
        }
        if self._data:
            changes["log.dirs"] = self._data
        if self._advertised:
            changes["advertised.listeners"] = f"CLIENTS://127.0.0.1:{self._advertised}"
        return changes

    def leader_of(self, topic):
        """Return the node that leads the topic's first partition."""
        asked = (TOPICS_TOOL, "--bootstrap-server", self.address, "--describe", "--topic", topic)
        line = command(*asked, log=self.nodes[0].log)
        said = subprocess.run(line, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout
        number = int(said.partition("Leader: ")[2].split()[0])
        return self.nodes[number - 1]

    def wait_in_sync(self):
        """Return when each partition has all its replicas."""
        asked = (TOPICS_TOOL, "--bootstrap-server", self.address, "--describe", "--under-replicated-partitions")
        line, end = command(*asked, log=self.nodes[0].log), time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
            if done.returncode == 0 and not done.stdout.strip():
                return
        raise AssertionError("some replicas do not come back")
