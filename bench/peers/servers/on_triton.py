"""Triton, through nvidia-pytriton: a Python callable behind its dynamic batcher."""

import numpy as np
from model import BATCH, PORT, WAIT_MS, WORKERS, load
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


class Predict:
    """Loaded once for each worker; pytriton's workers are threads of one process."""

    def __init__(self) -> None:
        self.answer = load()

    @batch
    def __call__(self, inputs: NDArray[np.bytes_]) -> dict[str, NDArray[np.float32]]:
        """[B, 1] texts to [B, 1] scores."""
        texts = [text.decode() for text in inputs[:, 0]]
        return {"score": np.array(self.answer(texts), dtype=np.float32)[:, None]}


if __name__ == "__main__":
    config = TritonConfig(
        http_port=PORT, http_address="127.0.0.1", allow_grpc=False, allow_metrics=False
    )
    delay = DynamicBatcher(max_queue_delay_microseconds=WAIT_MS * 1000 if BATCH > 1 else 0)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="predict",
            infer_func=[Predict() for _ in range(WORKERS)],
            inputs=[Tensor(name="inputs", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=BATCH, batcher=delay),
        )
        triton.serve()
