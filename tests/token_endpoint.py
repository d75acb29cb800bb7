"""A small OIDC server: it gives a client tokens that are signed by its key, and publishes the key (JWKS)."""

import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT, SECRET = "cardiac nets", "a secret: with %, & and ü"
ISSUER, AUDIENCE = "https://login.hospital.example", "kafka"


def _text(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value):
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class TokenEndpoint:
    """What it answers, which a test may change, and what it was asked."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.life_s, self.subject, self.audience = 300, "worker", AUDIENCE
        self.asked = []
        self.answer = None
        """A status, a body and headers to answer with; a token where it is None."""
        self.url = self.keys_url = None

    def token(self):
        """Return a signed token."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": self.audience, "sub": self.subject, "scope": "kafka"}
        parts = [
            {"alg": "RS256", "kid": "one"},
            claims | {"iat": now, "exp": now + self.life_s, "jti": f"{len(self.asked)}"},
        ]
        signed = ".".join(_text(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_text(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def keys(self):
        """Return the key with which tokens are checked."""
        public = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "n": _number(public.n), "e": _number(public.e)}
        return {"keys": [key]}

    def give(self, headers, form):
        """Return the answer to a request for a token."""
        self.asked.append(form)
        if self.answer:
            return self.answer
        login = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
        if [unquote(part) for part in login.split(":")] != [CLIENT, SECRET]:
            return 401, {"error": "invalid_client"}, {}
        return 200, {"access_token": self.token(), "token_type": "Bearer", "expires_in": self.life_s}, {}


@contextmanager
def token_endpoint(context=None):
    """Run it, with TLS where a context is given."""
    endpoint = TokenEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.reply(*endpoint.give(self.headers, form))

        def do_GET(self):
            self.reply(200, endpoint.keys(), {})

        def reply(self, status, body, headers):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                "Content-Length": str(len(content)),
                "Content-Type": "application/json",
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    place = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    endpoint.url, endpoint.keys_url = f"{place}/token", f"{place}/keys"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
