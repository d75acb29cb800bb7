"""Schema registries for tests: a real one (Apicurio's, from the folder shared/registry), and one of a single answer."""

import json
import shutil
import subprocess
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from waiting import wait_until

from stream.demo.embedded_servers import free_port

FOLDER = Path(__file__).parents[2] / "shared" / "registry"


class Registry:
    """A running registry, at `url`."""

    def __init__(self, url):
        self.url = url

    def register(self, subject, schema):
        """Register a schema, and return its id."""
        return self._send("POST", f"/subjects/{subject}/versions", {"schema": json.dumps(schema)})["id"]

    def compatibility(self, subject, level):
        """Say which schemas the subject may have after its first one."""
        self._send("PUT", f"/config/{subject}", {"compatibility": level})

    def _send(self, method, path, body):
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def running_registry(folder):
    """Run a registry that remembers nothing after its end; skip where there is no Java or no registry."""
    java, (jar, *_) = shutil.which("java"), [*FOLDER.glob("apicurio-registry-app-*-runner.jar"), None]
    if jar is None:
        pytest.skip("needs a schema registry: put Apicurio Registry 2.6 into ../shared/registry")
    if java is None:
        pytest.skip(
            "there is no Java to run the schema registry with (Debian: apt-get install openjdk-17-jre-headless)"
        )
    port = free_port()
    options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}"]
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([java, *options, "-jar", jar], stdout=log, stderr=subprocess.STDOUT)
        try:
            registry = Registry(f"http://127.0.0.1:{port}/apis/ccompat/v7")
            await_answer(registry.url + "/subjects", process)
            yield registry
        finally:
            process.kill()
            process.wait()


def await_answer(url, process):
    """Wait until the registry answers."""

    def answers():
        assert process.poll() is None, "the registry ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            return False
        return True

    wait_until(answers)


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's `answer` says, and remembers what it was asked."""

    def do_GET(self):
        """Answer."""
        self.server.requests.append((self.path, dict(self.headers)))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Write nothing."""


@contextmanager
def answering(answer, context=None, port=0):
    """Serve one answer to every request; give the server, which remembers them, and its port."""
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as one:
        one.answer, one.requests = answer, []
        if context:
            one.socket = context.wrap_socket(one.socket, server_side=True)
        thread = threading.Thread(target=one.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield one, one.server_address[1]
        finally:
            one.shutdown()
            thread.join()
