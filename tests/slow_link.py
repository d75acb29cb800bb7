"""A link between two that can be cut and made slow: a TCP proxy on a loopback port."""

import asyncio
import contextlib

from served_thread import served
from waiting import PATIENCE_S

CHUNK = 2**16


class Link:
    """Carries bytes to `behind`, a port that is set before anybody connects.

    `cut` closes each connection and takes none; `delay_s` holds each chunk up on its way, in either direction.
    """

    def __init__(self):
        self.behind = self.port = None
        self.cut, self.delay_s = False, 0.0
        self._carrying = set()

    async def serve(self, started):
        """Carry until `leave` is called."""
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._end.wait()
        server.close()
        await self._drop()

    def leave(self):
        """End, from another thread."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._end.set)

    def sever(self):
        """Cut the link, from another thread."""
        self.cut = True
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(PATIENCE_S)

    def mend(self):
        """Let it carry again."""
        self.cut = False

    async def _drop(self):
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader, writer):
        far_writer, task = None, asyncio.current_task()
        self._carrying.add(task)
        try:
            if self.cut:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.behind)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pour(reader, far_writer))
                group.create_task(self._pour(far_reader, writer))
        except (ExceptionGroup, OSError, asyncio.CancelledError):  # asyncio complains of a visit that was cancelled
            pass
        finally:
            self._carrying.discard(task)
            for each in filter(None, (writer, far_writer)):
                each.transport.abort()

    async def _pour(self, reader, writer):
        """Carry chunks in their order, each after the delay; more than one may be on its way."""
        on_the_way = asyncio.Queue(maxsize=256)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hand_over(on_the_way, writer))
            while chunk := await reader.read(CHUNK):
                await on_the_way.put((asyncio.get_running_loop().time() + self.delay_s, chunk))
            raise EOFError

    async def _hand_over(self, on_the_way, writer):
        while True:
            at, chunk = await on_the_way.get()
            if (left := at - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(left)
            writer.write(chunk)
            await writer.drain()


def open_link():
    """Run a link in a thread of its own."""
    return served(Link())
