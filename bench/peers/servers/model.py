"""What each server is given: text in, the second label's probability out, a batch at a time.

Written as the transformers documentation has it: tokenize and pad together, one forward.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

BATCH = int(os.environ.get("PEER_BATCH", "1"))
PORT = int(os.environ.get("PEER_PORT", "8000"))
WAIT_MS = int(os.environ.get("PEER_WAIT_MS", "10"))
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))


class Model(Protocol):
    """One answer for each text."""

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Probabilities, or lengths."""


class Echo:
    """Serving overhead alone: the answer is the text's length."""

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Lengths in characters."""
        return [float(len(text)) for text in texts]


class Classifier:
    """A sequence classifier, float32, on this process's share of the cores."""

    def __init__(self, folder: str) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // WORKERS))
        self._torch = torch
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """The second label's probability for each text."""
        torch = self._torch
        encoded = self._tokenizer.encode_batch(list(texts))
        with torch.inference_mode():
            logits = self._model(
                input_ids=torch.tensor([one.ids for one in encoded]),
                attention_mask=torch.tensor([one.attention_mask for one in encoded]),
            ).logits
        probabilities: list[float] = logits.softmax(-1)[:, 1].tolist()
        return probabilities


def load() -> Model:
    """What ``PEER_MODEL`` names."""
    name = os.environ["PEER_MODEL"]
    return Echo() if name == "echo" else Classifier(name)
