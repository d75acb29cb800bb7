"""LitServe as its documentation has it: one worker, dynamic batching. Its queue between processes is the quicker one.

FastAPI hands over the body as bytes. What the documentation shows, JSON or a form with a file, is slower.
"""

from typing import Annotated

import litserve
from fastapi import Depends, Request, Response
from peer_network import WAIT_MS, Network, number


async def body_of(request: Request) -> bytes:
    """Return the body."""
    return await request.body()


class Screen(litserve.LitAPI):
    """Answers a batch."""

    def setup(self, device):
        """Open the network, in the worker's process."""
        self._network = Network()

    def decode_request(self, request: Annotated[bytes, Depends(body_of)]):
        """Take the body as it is."""
        return request

    def batch(self, inputs):
        """Keep a list of bodies."""
        return inputs

    def predict(self, x):
        """Return an answer to each body."""
        return self._network.answer(x)

    def unbatch(self, output):
        """Keep a list of answers."""
        return output

    def encode_response(self, output) -> Response:
        """Give the answer as it is."""
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    api = Screen(max_batch_size=number("BATCH"), batch_timeout=WAIT_MS / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=number("PORT"), generate_client_file=False, log_level="warning")
