"""Ray Serve: a deployment with ``@serve.batch``."""

import os
import time

import ray
from model import BATCH, PORT, WAIT_MS, WORKERS, load
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request


@serve.deployment(
    num_replicas=WORKERS, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5}
)
class Predict:
    """As in Ray Serve's page on dynamic request batching."""

    def __init__(self) -> None:
        self.answer = load()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_MS / 1e3 if BATCH > 1 else 0.0)
    async def batched(self, texts: list[str]) -> list[float]:
        """A batch of texts."""
        return self.answer(texts)

    async def __call__(self, request: Request) -> dict[str, float]:
        """One request."""
        return {"score": await self.batched((await request.json())["inputs"])}


if __name__ == "__main__":
    variables = {name: value for name, value in os.environ.items() if name.startswith("PEER_")}
    ray.init(include_dashboard=False, runtime_env={"env_vars": variables}, log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=PORT))
    serve.run(Predict.bind(), route_prefix="/predict")
    while True:
        time.sleep(60)
