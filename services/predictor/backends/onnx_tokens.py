"""How texts are fed to an ONNX graph: which input is which, of which type, how long.

Pure: knows a graph's signature and what ``model.toml`` says; runs nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.onnx_signature import Port, Signature
from services.predictor.collate import collate
from services.predictor.rows import Row
from shared.errors import PredictionFailed
from shared.model_spec import ModelSpec

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
TYPES: Final = "token_type_ids"
_KNOWN: Final = {IDS: IDS, MASK: MASK, TYPES: TYPES, "input_mask": MASK, "segment_ids": TYPES}
"""transformers' names, and those of BERT's own export."""
_RANKS: Final = (0, 2)


class TextFeed:
    """Rows of token ids to what the graph takes, [B, T] each."""

    def __init__(self, signature: Signature, spec: ModelSpec) -> None:
        """Decide which input gets what.

        Raises:
            UnknownBackend: their names do not say it, or one cannot be fed
        """
        self._pad_id = spec.text.pad_id
        names = _named(signature, spec)
        for port in signature.inputs:
            _check(port, signature)
        self._dtypes = {port.name: (names[port.name], port.dtype) for port in signature.inputs}
        self.length = _length(signature, spec)
        """Every text is padded to as many tokens; None: to the longest of its batch."""

    def feeds(self, rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Ids, mask and segments, as the graph has them.

        Raises:
            PredictionFailed: some row is not a text
        """
        try:
            padded = collate(rows, self._pad_id)
        except (KeyError, ValueError) as exc:
            raise PredictionFailed(f"a row is not what the model takes: {exc!r}") from exc
        ids = padded.ids
        mask = np.ones_like(ids) if padded.mask is None else padded.mask
        types = np.zeros_like(ids) if padded.types is None else padded.types
        ours = {
            IDS: self._filled(ids, self._pad_id),
            MASK: self._filled(mask, 0),
            TYPES: self._filled(types, 0),
        }
        return {name: ours[what].astype(dtype) for name, (what, dtype) in self._dtypes.items()}

    def _filled(self, array: NDArray[Any], value: int) -> NDArray[Any]:
        """[B, T], to the one length that the graph has."""
        missing = 0 if self.length is None else self.length - array.shape[1]
        if missing < 0:
            raise PredictionFailed(
                f"a row has {array.shape[1]} tokens, the graph takes {self.length}: gateway and "
                "predictor must serve the same model.toml"
            )
        return np.pad(array, ((0, 0), (0, missing)), constant_values=value) if missing else array


def _named(signature: Signature, spec: ModelSpec) -> dict[str, str]:
    """What each input gets: as ``model.toml`` says, or by its name; the only one gets the ids."""
    stated = spec.onnx.inputs
    for name, what in stated.items():
        if name not in {port.name for port in signature.inputs} or what not in (IDS, MASK, TYPES):
            raise UnknownBackend(
                f"{spec.file}: onnx.inputs has {name} = {what!r}, and the graph {signature.file} "
                f"takes {signature.takes()}: name its inputs, each {IDS}, {MASK} or {TYPES}"
            )
    names = {
        port.name: stated.get(port.name) or _KNOWN.get(port.name.removesuffix(":0"), "")
        for port in signature.inputs
    }
    if len(names) == 1 and not stated:
        names = dict.fromkeys(names, IDS)
    given = sorted(names.values())
    if "" in given or IDS not in given or len(set(given)) < len(given):
        unknown = [name for name, what in names.items() if not what] or list(names)
        example = ", ".join(f'"{name}" = "{IDS}"' for name in unknown[:1])
        raise UnknownBackend(
            f"{signature.file}: takes {signature.takes()}, and which is {IDS}, {MASK} or {TYPES} "
            f"is not plain: write it into {spec.file}, each by its name: onnx = {{inputs = "
            f"{{{example}, …}}}}; one that is none of these cannot be served: export without it"
        )
    return names


def _check(port: Port, signature: Signature) -> None:
    numbers = port.dtype is not None and port.dtype.itemsize > np.dtype(np.float16).itemsize
    flags = port.dtype is not None and port.dtype.kind == "b"
    if not (numbers or flags) or len(port.shape) not in _RANKS:
        raise UnknownBackend(
            f"{signature.file}: takes {port}, and texts are int64 or int32 [rows, tokens]: export "
            "it with such inputs"
        )


def _length(signature: Signature, spec: ModelSpec) -> int | None:
    stated = {port.shape[1] for port in signature.inputs if port.shape}
    fixed = [length for length in stated if length is not None]
    if not fixed:
        return None
    length = min(fixed)
    if spec.text.max_tokens > length:
        raise UnknownBackend(
            f"{spec.file}: texts may have {spec.text.max_tokens} tokens, the graph "
            f"{signature.file} takes {length}: write max_tokens = {length}, or export it with a "
            "free length"
        )
    return length
