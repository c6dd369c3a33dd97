"""Text to token ids, and logits to labels or vectors to lists.

Knows the tokenizer, the limits and the labels of one model version; knows nothing of
HTTP, queues or torch. Runs in threads of :mod:`services.preprocess.pool`.
"""

import struct
from collections.abc import Sequence

from tokenizers import Encoding

from services.preprocess.encoded import Encoded, not_unicode
from services.preprocess.scores import classified, embedded
from services.preprocess.texts import read_texts
from services.preprocess.tokenizer import TextTokenizer
from shared.contract import Column, Success
from shared.errors import InputTooLong, InvalidRequest, RequestRejected
from shared.model_spec import ModelSpec


class TextCodec:
    """Encodes the inputs and decodes the outputs of one model of texts."""

    quick = True
    foreign = False
    row_weight = 0

    def __init__(self, spec: ModelSpec, tokenizer: TextTokenizer) -> None:
        self._spec = spec
        self._tokenizer = tokenizer

    read = staticmethod(read_texts)

    def encode(self, texts: Sequence[str], *, truncate: bool) -> list[Encoded | RequestRejected]:
        """Same order; a text that cannot be served is an error in its place."""
        admitted = [self._admit(text, truncate=truncate) for text in texts]
        encodings = iter(self._tokenize([text for text in admitted if isinstance(text, str)]))
        return [
            self._seal(next(encodings), truncate=truncate) if isinstance(text, str) else text
            for text in admitted
        ]

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:
        """The answer for one row.

        Raises:
            DecodeError, PredictionFailed: these are no outputs of this model.
        """
        if self._spec.embedding:
            return embedded(success)
        return classified(success, self._spec, top_k=top_k)

    def _admit(self, text: str, *, truncate: bool) -> str | RequestRejected:
        """With the model's prompt, and bounded: a tokenizer reads all of a text to cut it."""
        if self._spec.text.pairs:
            return InvalidRequest(
                f"{self._spec.key.name} was trained on pairs of texts, which are not taken yet: "
                "write pairs = false into its model.toml to have single texts classified"
            )
        limit = self._spec.text.max_characters
        if len(text) > limit:
            if not truncate:
                return InputTooLong(len(text), limit, "characters")
            text = text[-limit:] if self._tokenizer.keeps_end else text[:limit]
        return self._spec.text.prompt + text

    def _tokenize(self, texts: list[str]) -> Sequence[Encoding | RequestRejected]:
        """One call for all; one for each only where that fails."""
        try:
            return self._tokenizer.backend.encode_batch_fast(texts)
        except BaseException:  # noqa: BLE001 -- a panic in Rust is no Exception
            return [self._tokenize_alone(text) for text in texts]

    def _tokenize_alone(self, text: str) -> Encoding | RequestRejected:
        try:
            text.encode()
            return self._tokenizer.backend.encode_batch_fast([text])[0]
        except UnicodeEncodeError as exc:
            return not_unicode(exc)
        except BaseException as exc:  # noqa: BLE001 -- as above; its message may quote the input
            return InvalidRequest(f"the tokenizer fails on this input ({type(exc).__name__})")

    def _seal(
        self, encoding: Encoding | RequestRejected, *, truncate: bool
    ) -> Encoded | RequestRejected:
        if isinstance(encoding, RequestRejected):
            return encoding
        ids = encoding.ids
        if not truncate and len(ids) == self._spec.text.max_tokens and encoding.overflowing:
            return InputTooLong(self._tokens_of(encoding), self._spec.text.max_tokens)
        if not ids:
            return InvalidRequest("input has no tokens: send some text")
        foreign = self._tokenizer.foreign_ids_from
        if foreign is not None and max(ids) >= foreign:
            return InvalidRequest(
                f"input has a token with id {max(ids)}, the model knows {foreign}: "
                "leave special tokens out of the text"
            )
        return Encoded(self._columns(encoding, ids), len(ids))

    def _columns(self, encoding: Encoding, ids: list[int]) -> tuple[Column, ...]:
        if not self._tokenizer.typed:
            return (_column("input_ids", ids),)
        return (_column("input_ids", ids), _column("token_type_ids", encoding.type_ids))

    def _tokens_of(self, encoding: Encoding) -> int:
        special = self._tokenizer.special_tokens
        return len(encoding) + sum(len(part) - special for part in encoding.overflowing)


def _column(name: str, values: list[int]) -> Column:
    # struct packs 64 ids in 0.8 us, array("i") in 1.6.
    return Column(name, "<i4", (len(values),), (), struct.pack(f"<{len(values)}i", *values))
