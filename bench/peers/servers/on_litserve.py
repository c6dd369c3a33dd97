"""LitServe: a LitAPI with ``max_batch_size`` and ``batch_timeout``."""

from typing import Any

import litserve
from model import BATCH, PORT, WAIT_MS, WORKERS, load


class Api(litserve.LitAPI):
    """As in LitServe's page on batching."""

    def setup(self, device: str) -> None:
        """Once in each worker."""
        self.answer = load()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """The text."""
        return request["inputs"]

    def predict(self, texts: Any) -> Any:
        """A batch of texts or, without batching, one."""
        return self.answer(texts) if BATCH > 1 else self.answer([texts])[0]

    def encode_response(self, output: float) -> dict[str, float]:
        """The body."""
        return {"score": output}


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=WAIT_MS / 1e3 if BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False)
