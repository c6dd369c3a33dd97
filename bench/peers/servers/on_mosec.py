"""Mosec: one worker stage with ``max_batch_size`` and ``max_wait_time``."""

from typing import Any

from model import BATCH, WAIT_MS, WORKERS, load
from mosec import Server, Worker


class Predict(Worker):
    """As in Mosec's examples."""

    def __init__(self) -> None:
        self.answer = load()

    def forward(self, data: Any) -> Any:
        """A batch of bodies or, without batching, one."""
        if BATCH > 1:
            return [{"score": score} for score in self.answer([one["inputs"] for one in data])]
        return {"score": self.answer([data["inputs"]])[0]}


if __name__ == "__main__":
    server = Server()
    wait = {"max_wait_time": WAIT_MS} if BATCH > 1 else {}
    server.append_worker(Predict, num=WORKERS, max_batch_size=BATCH, **wait)
    server.run()
