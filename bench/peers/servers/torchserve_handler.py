"""TorchServe's handler; the model's folder comes by environment, the archive holds this alone."""

import os
import sys
from typing import Any

sys.path.insert(0, os.environ["PEER_CODE"])

from model import load
from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):  # type: ignore[misc]
    """A batch of bodies in, one answer for each out."""

    def initialize(self, context: Any) -> None:
        """Once in each worker."""
        self.answer = load()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, float]]:
        """Bodies as JSON."""
        texts = [(one.get("body") or one["data"])["inputs"] for one in data]
        return [{"score": score} for score in self.answer(texts)]
