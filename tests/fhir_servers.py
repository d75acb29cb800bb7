"""FHIR servers for the tests: Medplum's router from ../shared/fhir, and a small one that fails as it is told."""

import json
import shutil
import subprocess
import threading
import urllib.request
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream.demo.embedded_servers import free_port

FOLDER = Path(__file__).parents[2] / "shared" / "fhir"


class MedplumServer:
    """A running FHIR R4 server in memory, at `url`."""

    def __init__(self, url):
        self.url = url

    def search(self, query):
        """Return the resources that a search finds."""
        with urllib.request.urlopen(f"{self.url}/{query}", timeout=60) as answer:
            return [entry["resource"] for entry in json.load(answer).get("entry", ())]


@contextmanager
def medplum(folder):
    """Run Medplum's router, in a copy of its folder; skip where it is not there or cannot be installed."""
    if not (FOLDER / "server.mjs").exists():
        pytest.skip("needs a FHIR server: put Medplum's router into ../shared/fhir")
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm: apt-get install nodejs npm")
    for name in ("package.json", "server.mjs"):
        shutil.copyfile(FOLDER / name, folder / name)
    quiet = ("--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline")
    installed = subprocess.run(["npm", "install", *quiet], cwd=folder, capture_output=True, timeout=300, check=False)
    if installed.returncode:
        pytest.skip("needs npm's registry: the FHIR server could not be installed")
    port = free_port()
    process = subprocess.Popen(["node", "server.mjs", str(port)], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield MedplumServer(f"http://127.0.0.1:{port}/fhir/R4")
    finally:
        process.kill()
        process.communicate()


class SmallServer(ThreadingHTTPServer):
    """Takes transactions as a FHIR server does: a search of an entry finds what an earlier one of the kind has left.

    `faults` say what befalls the next requests, one each: an answer (status, headers, body) that takes nothing, or
    `"lost"`, where the server takes the transaction and nobody hears of it.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored, self.faults, self.requests = {}, deque(), []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/fhir"

    def take(self, bundle):
        """Return the answer to a transaction."""
        entries = []
        for entry in bundle["entry"]:
            request, kind = entry["request"], entry["resource"]["resourceType"]
            key = (kind, request.get("ifNoneExist") or request["url"].partition("?")[2])
            status = "200 OK" if key in self.stored else "201 Created"
            if status.startswith("201") or request["method"] == "PUT":
                self.stored[key] = entry["resource"]
            number = list(self.stored).index(key)
            entries.append({"response": {"status": status, "location": f"{kind}/{number}/_history/1"}})
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


class Handler(BaseHTTPRequestHandler):
    """Answers as its server says."""

    def do_POST(self):
        """Take a transaction, or meet what is planned."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers)))
        fault = self.server.faults.popleft() if self.server.faults else None
        if isinstance(fault, tuple):
            self.answer(*fault)
            return
        answer = json.dumps(self.server.take(json.loads(content))).encode()
        if fault != "lost":
            self.answer(200, {}, answer)

    def answer(self, status, headers, body):
        """Send an answer."""
        self.send_response(status)
        for name, text in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Write nothing."""


@contextmanager
def small_server(context=None):
    """Run a small server."""
    with SmallServer() as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.url = server.url.replace("http:", "https:")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
