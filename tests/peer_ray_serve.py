"""Ray Serve as its documentation has it: one replica, `serve.batch`, bytes over HTTP."""

import asyncio
import os
import threading

import ray
from peer_network import WAIT_MS, Network, number
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, max_ongoing_requests=256)
class Screen:
    """Answers batches; the network runs in a thread, so that the next bodies are taken meanwhile."""

    def __init__(self):
        self._network = Network()

    @serve.batch(max_batch_size=number("BATCH"), batch_wait_timeout_s=WAIT_MS / 1e3)
    async def answer(self, bodies):
        """Return an answer to each body."""
        return await asyncio.to_thread(self._network.answer, bodies)

    async def __call__(self, request: Request) -> Response:
        """Take a body, and give the answer."""
        return Response(await self.answer(await request.body()), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(
        num_cpus=number("THREADS"),
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        _temp_dir=os.environ["PEER_FOLDER"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": number("PORT")})
    serve.run(Screen.bind())
    threading.Event().wait()
