"""Reads the body of a request, and counts while it reads: what a client says of the length need not be true."""

from __future__ import annotations

from starlette.requests import Request


class BodyTooLarge(Exception):  # noqa: N818 -- it is an answer, not a failure
    """A body has more bytes than a change may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"a change may have at most {most} bytes")


async def read_body(request: Request, most: int) -> bytes:
    """Return the body. The connection's time-out bounds how long it may take to come.

    Raises:
        BodyTooLarge: it has more than `most` bytes; the rest is not read.
        ClientDisconnect: the client has gone.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BodyTooLarge(most)
    return bytes(body)
