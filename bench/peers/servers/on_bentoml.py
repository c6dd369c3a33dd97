"""BentoML: a service with a batchable endpoint; ``bentoml serve on_bentoml:Service``."""

import bentoml
from model import BATCH, WORKERS, load


@bentoml.service(workers=WORKERS, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class Service:
    """As in BentoML's page on adaptive batching."""

    def __init__(self) -> None:
        self.answer = load()

    @bentoml.api(batchable=BATCH > 1, max_batch_size=max(BATCH, 2), max_latency_ms=60_000)
    def predict(self, inputs: list[str]) -> list[float]:
        """As many answers as texts."""
        return self.answer(inputs)
