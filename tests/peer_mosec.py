"""mosec as its documentation has it: one worker, dynamic batching, bytes in and out."""

from mosec import Server, Worker
from peer_network import WAIT_MS, Network, number


class Screen(Worker):
    """Answers a batch."""

    def __init__(self):
        self._network = Network()

    def deserialize(self, data):
        """Take the body as it is."""
        return data

    def serialize(self, data):
        """Give the answer as it is."""
        return data

    def forward(self, data):
        """Return an answer to each body."""
        return self._network.answer(data)


if __name__ == "__main__":
    server = Server()  # the address, the port and the timeout come from the command line
    server.append_worker(Screen, num=1, max_batch_size=number("BATCH"), max_wait_time=WAIT_MS)
    server.run()
