"""The stand-in's codec: text as UTF-8 bytes in, the same bytes out.

One byte counts as one token, so that limits, chunks and queue depth behave as with a real
model. Needs no files. In a preprocess worker it takes a time, raises or dies on command, as the
stand-in's backend does in a predictor: ``!encode wait 20``, ``!encode raise``, ``!encode die``.
"""

import os
import signal
import time
from collections.abc import Sequence

from services.preprocess.encoded import Encoded, not_unicode
from services.preprocess.texts import read_texts
from shared.contract import Column, Success
from shared.errors import DecodeError, InputTooLong, RequestRejected
from shared.model_spec import ModelSpec, Preprocess


class EchoCodec:
    """Encodes and decodes for a model that answers with its input."""

    quick = True
    foreign = False
    row_weight = 0

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._obeys = spec.preprocess is Preprocess.WORKER

    read = staticmethod(read_texts)

    def encode(self, texts: Sequence[str], *, truncate: bool) -> list[Encoded | RequestRejected]:
        """Same order; a text that cannot be served is an error in its place."""
        return [self._encode(text, truncate=truncate) for text in texts]

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:  # noqa: ARG002
        """The text that went in; there is nothing to rank.

        Raises:
            DecodeError: these bytes never were a text.
        """
        try:
            return {"echo": success.tensors[0].values.decode()}
        except UnicodeDecodeError as exc:
            raise DecodeError(f"the echo of a text is not UTF-8: {exc.reason}") from exc

    def _encode(self, text: str, *, truncate: bool) -> Encoded | RequestRejected:
        if self._obeys and text.startswith("!encode "):
            _obey(text)
        limits = self._spec.text
        if len(text) > limits.max_characters and not truncate:
            return InputTooLong(len(text), limits.max_characters, "characters")
        try:
            raw = text[: limits.max_characters].encode()
        except UnicodeEncodeError as exc:
            return not_unicode(exc)
        if len(raw) > limits.max_tokens:
            if not truncate:
                return InputTooLong(len(raw), limits.max_tokens)
            raw = raw[: limits.max_tokens].decode(errors="ignore").encode()  # no half character
        column = Column("text", "|u1", (len(raw),), (), raw)
        return Encoded((column,), max(len(raw), 1))  # an empty text is work, too


def _obey(command: str) -> None:
    match command.split():
        case ["!encode", "wait", milliseconds, *_]:
            time.sleep(float(milliseconds) / 1e3)  # noqa: TID251 - in a thread, and told to
        case ["!encode", "raise", *_]:
            raise RuntimeError("the stand-in was told to raise")
        case ["!encode", "die", *_]:
            os.kill(os.getpid(), signal.SIGKILL)
