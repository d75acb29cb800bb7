"""A small reverse proxy: it has the dashboard in a folder, signs its users in, and knows nothing beside the folder."""

import asyncio

from served_thread import served
from slow_link import CHUNK, Link

NOT_HERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ENDS = b"connection: close"


class ReverseProxy(Link):
    """Passes on what lies in its folder, one request a connection, and says whose it is.

    Args:
        folder: such as `/heart`.
        strips: whether it takes the folder off the path.

    Attributes:
        user: the name and the groups of whoever is signed in at the proxy; None for nobody.
        strays: the paths outside the folder that somebody asked for.
    """

    def __init__(self, folder, *, strips):
        super().__init__()
        self.folder, self.strips = folder, strips
        self.user, self.strays = None, []

    async def _opening(self, reader):
        """Return how a request begins on our side; None if it is not in the folder."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, path, version = first.decode().split(" ")
        if path != self.folder and not path.startswith(self.folder + "/"):
            self.strays.append(path)
            return None
        if self.strips:
            path = path.removeprefix(self.folder) or "/"
        kept = [line for line in lines if not line.lower().startswith((b"connection:", b"x-forwarded-"))]
        return b"\r\n".join([f"{method} {path} {version}".encode(), *kept, *self._said(), ENDS, b"", b""])

    def _said(self):
        """Return the headers that are ours to write."""
        names = {"X-Forwarded-User": self.user[0], "X-Forwarded-Groups": self.user[1]} if self.user else {}
        return [f"{name}: {text}".encode() for name, text in names.items()]

    async def _carry(self, reader, writer):
        far_writer, task = None, asyncio.current_task()
        self._carrying.add(task)
        try:
            if opening := await self._opening(reader):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.behind)
                far_writer.write(opening)
                await self._until_one_ends((reader, far_writer), (far_reader, writer))
            else:
                writer.write(NOT_HERE)
            await self._flush(*filter(None, (writer, far_writer)))
        except (OSError, EOFError, asyncio.CancelledError):  # somebody left
            pass
        finally:
            self._carrying.discard(task)
            for each in filter(None, (writer, far_writer)):
                each.transport.abort()

    async def _flush(self, *writers):
        """Close them when what they hold has gone out."""
        for each in writers:
            each.close()
        await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)

    async def _until_one_ends(self, *ways):
        carrying = [asyncio.create_task(self._pass_on(*way)) for way in ways]
        await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        for each in carrying:
            each.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _pass_on(self, reader, writer):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()


def reverse_proxy(folder, *, strips):
    """Run one; its `behind` is to be set before anybody connects."""
    return served(ReverseProxy(folder, strips=strips))
