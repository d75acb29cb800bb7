"""A door before a plain server, as hospitals have them: TLS, and for a Kafka broker a user and a password (SASL).

The embedded broker and Redis speak neither, so the door ends TLS and authentication, and hands on all the rest.
"""

import asyncio
import ssl
import struct

import scramp
from served_thread import served

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58
LEAVING_S = 3.0


class SecureDoor:
    """Listens on a loopback port of its own; `behind` is the plain server's port, set before anybody knocks."""

    def __init__(self, *, context=None, mechanism=None, user=None, password=None):
        self.behind = None
        self.port = None
        self.entered = 0
        self._context = context
        self._mechanism = mechanism
        self._user, self._password = user, password
        self._visits = set()

    async def serve(self, started):
        """Let callers in until `leave` is called."""
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await self._end.wait()
            server.close()
            if self._visits:  # most end by themselves, their caller being gone; a cancelled one may leave sockets open
                await asyncio.wait(self._visits, timeout=LEAVING_S)
            for visit in self._visits:
                visit.cancel()
            await asyncio.gather(*self._visits, return_exceptions=True)
            await asyncio.sleep(0.1)  # for what is closing

    def leave(self):
        """End serving, from another thread."""
        self._loop.call_soon_threadsafe(self._end.set)

    async def _meet(self, reader, writer):
        inner_writer = None
        self._visits.add(asyncio.current_task())
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.behind)
            if self._mechanism:
                await self._authenticate(reader, writer, inner_reader, inner_writer)
            self.entered += 1
            async with asyncio.TaskGroup() as group:
                group.create_task(_pour(reader, inner_writer))
                group.create_task(_pour(inner_reader, writer))
        except (ExceptionGroup, OSError, EOFError):
            pass
        finally:
            # Not close, which waits for what nobody reads any more.
            writer.transport.abort()
            if inner_writer:
                inner_writer.transport.abort()
            self._visits.discard(asyncio.current_task())

    async def _authenticate(self, reader, writer, inner_reader, inner_writer):
        """Answer the client's SASL requests; what it asks before them goes to the broker."""
        scram = None
        while True:
            frame = await _read_frame(reader)
            api, version, correlation, name_length = struct.unpack_from(">hhih", frame)
            body = frame[10 + max(name_length, 0) :]
            if api == API_VERSIONS:
                _write_frame(inner_writer, frame)
                _write_frame(writer, await _read_frame(inner_reader))
            elif api == SASL_HANDSHAKE:
                asked = body[2:].decode()
                code = 0 if asked == self._mechanism else UNSUPPORTED_MECHANISM
                _write_frame(writer, struct.pack(">ihi", correlation, code, 1) + _string(self._mechanism))
            elif api == SASL_AUTHENTICATE:
                scram = scram or self._scram_server()
                code, answer, done = self._judge(scram, body[4:])
                reason = _string("Authentication failed") if code else struct.pack(">h", -1)
                lifetime = struct.pack(">q", 0) if version else b""
                head = struct.pack(">ih", correlation, code) + reason
                _write_frame(writer, head + struct.pack(">i", len(answer)) + answer + lifetime)
                if done:
                    return
            else:
                raise PermissionError(f"request {api} before authentication")

    def _scram_server(self):
        if self._mechanism == "PLAIN":
            return None
        mechanism = scramp.ScramMechanism(self._mechanism)
        known = mechanism.make_auth_info(self._password)

        def credentials(user):
            if user != self._user:
                raise scramp.ScramException("unknown user")
            return known

        return mechanism.make_server(credentials)

    def _judge(self, scram, token):
        """Return the error code, the answer, and whether the client is in."""
        if scram is None:
            right = token.split(b"\0")[1:] == [self._user.encode(), self._password.encode()]
            return (0 if right else AUTHENTICATION_FAILED), b"", right
        try:
            if scram.stage is None:
                scram.set_client_first(token.decode())
                return 0, scram.get_server_first().encode(), False
            scram.set_client_final(token.decode())
            return 0, scram.get_server_final().encode(), True
        except scramp.ScramException:
            return AUTHENTICATION_FAILED, b"", False


def secure_door(**options):
    """Run a door in a thread of its own."""
    return served(SecureDoor(**options))


def server_context(authority, *, client_certificates=False):
    """Return the TLS context of a server on loopback, signed by a trustme authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    if client_certificates:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _pour(reader, writer):
    while chunk := await reader.read(2**16):
        writer.write(chunk)
        await writer.drain()
    raise EOFError


async def _read_frame(reader):
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def _write_frame(writer, frame):
    writer.write(struct.pack(">i", len(frame)) + frame)


def _string(text):
    return struct.pack(">h", len(text)) + text.encode()
