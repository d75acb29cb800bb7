"""The bounds of our HTTP servers, over loopback: clients that send half a request, that read nothing, that are many."""

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from waiting import PATIENCE_S, eventually

from schemas.errors import DeploymentError
from stream.logs import configure_logs
from stream.runtime.health import CONNECTIONS, health_server
from stream.runtime.http_server import BACKLOG, NewsFilter, affordable_connections, listen, new_server

HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(_):
    return PlainTextResponse("ok")


async def take(request: Request):
    return PlainTextResponse(str(len(await request.body())))


async def pour(_):
    async def without_end():
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    return StreamingResponse(without_end())


@asynccontextmanager
async def serving(*, connections=50, **times):
    """Give the port of a server, and the server."""
    routes = [Route("/healthz", answer), Route("/take", take, methods=["POST"]), Route("/pour", pour)]
    listener = listen("127.0.0.1", 0, lambda error: DeploymentError(str(error)))
    server = new_server(Starlette(routes=routes), connections=connections, **times)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield listener.getsockname()[1], server
    finally:
        server.should_exit = True
        await task


async def ask(port, request=WHOLE):
    """Return the status that a request is answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    status = (await reader.readline()).split(b" ")
    writer.close()
    return int(status[1])


async def closed(reader):
    """Wait until the server has closed the connection; whatever it says before is passed over."""
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        return


async def open_and_send(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize(
    "begun",
    [b"", HALF, b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", WHOLE, WHOLE + HALF],
    ids=["nothing", "half a head", "half a body", "no second request", "half a second request"],
)
async def test_a_client_that_does_not_complete_its_request_in_time_is_closed(begun):
    async with serving(request_s=0.2) as (port, _):
        reader, writer = await open_and_send(port, begun)
        await closed(reader)
        writer.close()
        assert await ask(port) == 200


async def test_drops_of_a_request_buy_no_time():
    async with serving(request_s=0.3) as (port, server):
        reader, writer = await open_and_send(port, HALF)
        ending = asyncio.create_task(closed(reader))
        while not ending.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)
        await eventually(lambda: not server.server_state.connections)
        writer.close()


@pytest.mark.parametrize("begun", [HALF, b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"])
async def test_connections_that_wait_never_keep_another_one_out(begun):
    async with serving(connections=10) as (port, server):
        held = [await open_and_send(port, begun) for _ in range(40)]
        assert [await ask(port) for _ in range(20)] == [200] * 20
        await eventually(lambda: len(server.server_state.connections) <= 10)
        for _, writer in held:
            writer.close()


async def test_a_client_that_is_being_answered_is_not_replaced():
    async with serving(connections=2) as (port, _):
        reader, writer = await open_and_send(port, b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1000)
        held = [await open_and_send(port, HALF) for _ in range(10)]
        await reader.readexactly(10_000_000)
        for _, one in [(reader, writer), *held]:
            one.close()


async def test_a_client_that_reads_nothing_is_cut_off_and_one_that_reads_goes_on():
    async with serving(stalled_s=0.5) as (port, server):
        deaf, reading = [await open_and_send(port, b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
        deaf[1].transport.pause_reading()
        while len(server.server_state.connections) > 1:
            await reading[0].readexactly(100_000)
        await reading[0].readexactly(10_000_000)
        for _, writer in (deaf, reading):
            writer.transport.abort()


def test_a_server_and_a_burst_of_new_clients_take_fewer_files_than_the_process_may_open():
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert affordable_connections(10) == 10
    assert affordable_connections(10**9) + BACKLOG < soft


async def test_a_workers_port_answers_while_half_requests_are_held():
    checks = {"healthy": lambda: None, "ready": lambda: "joining"}
    async with health_server("127.0.0.1", 0, registry=CollectorRegistry(), **checks) as port:
        held = [await open_and_send(port, HALF) for _ in range(3 * CONNECTIONS)]
        assert await ask(port) == 200
        assert await ask(port, WHOLE.replace(b"healthz", b"readyz")) == 503
        assert await ask(port, WHOLE.replace(b"healthz", b"metrics")) == 200
        for _, writer in held:
            writer.close()


async def test_a_workers_port_that_is_taken_is_said_in_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(DeploymentError, match="--http-port"):
        async with health_server(
            "127.0.0.1", taken.getsockname()[1], registry=CollectorRegistry(), healthy=str, ready=str
        ):
            pass


async def test_what_is_no_http_is_one_line_of_json_in_the_log(capfd):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logs("info", "json")
    try:
        async with serving() as (port, _):
            for _ in range(200):
                assert await ask(port, b"\x16\x03\x01 hello\r\n\r\n") == 400
    finally:
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["Invalid HTTP request received."]


def test_what_was_held_back_is_counted_when_it_is_said_again():
    news = NewsFilter()

    def said(text):
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)
        return record.getMessage() if news.filter(record) else None

    assert [said("a"), said("a"), said("b"), said("a")] == ["a", None, "b", None]
    news._said.put("a None", (-1000.0, 2))
    assert said("a") == "a (and 2 times since this was said last)"
