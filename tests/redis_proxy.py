"""A proxy before Redis, as hospitals have them: it forgets idle connections without a word, or knows few commands."""

import asyncio

from served_thread import served


class RedisProxy:
    """Listens on a loopback port of its own, and hands on to Redis behind it.

    Args:
        unknown: names of commands that it answers by an error, as a proxy does that does not know them.
    """

    def __init__(self, behind, unknown=()):
        self._behind = behind
        self._unknown = {name.encode() for name in unknown}
        self.port = None
        self.connections = 0
        self._visits, self._forgotten = set(), set()

    def forget(self):
        """Swallow from now on what comes on the connections that are open, and answer nothing there."""
        self._forgotten |= self._visits

    def leave(self):
        """End serving, from another thread."""
        self._loop.call_soon_threadsafe(self._end.set)

    async def serve(self, started):
        """Let callers in until `leave` is called."""
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await self._end.wait()
            server.close()
            while visits := set(self._visits):
                for visit in visits:
                    visit.cancel()
                await asyncio.gather(*visits, return_exceptions=True)
            await asyncio.sleep(0.1)  # for what is closing

    async def _meet(self, reader, writer):
        visit, inner_writer = asyncio.current_task(), None
        self._visits.add(visit)
        self.connections += 1
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._behind)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, writer, inner_writer, visit))
                group.create_task(self._answer(inner_reader, writer, visit))
        except (ExceptionGroup, OSError, EOFError):
            pass
        finally:
            writer.transport.abort()
            if inner_writer:
                inner_writer.transport.abort()
            self._visits.discard(visit)

    async def _ask(self, reader, writer, inner_writer, visit):
        while True:
            raw, name = await _read_command(reader)
            if visit in self._forgotten:
                continue
            if name in self._unknown:
                writer.write(b"-ERR unknown command '" + name + b"'\r\n")
            else:
                inner_writer.write(raw)

    async def _answer(self, inner_reader, writer, visit):
        while data := await inner_reader.read(2**16):
            if visit not in self._forgotten:
                writer.write(data)
        raise EOFError


async def _read_command(reader):
    """Return a command as it came, and its name: an array of strings, each with its length before it."""
    raw = await reader.readuntil(b"\r\n")
    words = []
    for _ in range(int(raw[1:])):
        size = await reader.readuntil(b"\r\n")
        word = await reader.readexactly(int(size[1:]) + 2)
        raw += size + word
        words.append(word[:-2])
    return raw, words[0].split()[0].upper()


def redis_proxy(behind, unknown=()):
    """Run a proxy before the Redis of that port, in a thread."""
    return served(RedisProxy(behind, unknown))
