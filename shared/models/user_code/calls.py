"""Call a model's own ``encode`` and ``decode``, and check what they return.

What a custom model's row is on the wire is decided here, for the gateway and the preprocess worker
that encode it, and for the predictor, which tries the model's sample out before it serves.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from shared.contract import Column, Success
from shared.models.user_code.values import column_of, plain, plain_array, tensor_of

Encode = Callable[[Any], Any]
Decode = Callable[[dict[str, Any]], Any]


class BadAnswer(Exception):
    """What a ``decode`` returned is no answer; the message says what is."""


def with_folder(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """The same one; where it has a parameter called ``folder``, that is the model's."""
    if "folder" in inspect.signature(function).parameters:
        return partial(function, folder=folder)
    return function


def inputs_of(sample: Any) -> list[Any]:
    """Of a model's own sample, as of ``inputs`` in a request: a list is several."""
    return sample if isinstance(sample, list) else [sample]


def encoded(encode: Encode, given: Any) -> tuple[Column, ...]:
    """One input as columns, each with this one row.

    Raises:
        TypeError, ValueError, OverflowError: it returned what cannot travel
        BaseException: whatever ``encode`` raises
    """
    named = encode(given)
    if not isinstance(named, Mapping) or not named:
        raise TypeError(f"it returned {_shown(named)}, not a dict of arrays by name")
    return tuple([column_of(tensor_of(str(name), value)) for name, value in named.items()])


def decoded(decode: Decode, success: Success) -> dict[str, object]:
    """The answer for one row, as plain values that are JSON.

    Raises:
        BadAnswer: it returned something else than an object, or what is no JSON
        ValueError: an output is of a type that this version does not read
        BaseException: whatever ``decode`` raises
    """
    answer = decode({one.name: plain(one) for one in success.tensors})
    if not isinstance(answer, dict):
        raise BadAnswer(f"decode returned {type(answer).__name__}, not a dict")
    if "error" in answer:
        raise BadAnswer("decode returned an 'error', which is ours: name it otherwise")
    try:
        return _as_json(answer)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise BadAnswer(f"decode returned what is no JSON: {exc}") from exc


def _as_json(answer: dict[str, object]) -> dict[str, object]:
    """The answer, once it is known that it can be written as JSON."""
    try:
        msgspec.json.encode(answer)
    except TypeError:  # NumPy's numbers and arrays have a plain form
        answer = msgspec.to_builtins(answer, enc_hook=plain_array)
        msgspec.json.encode(answer)
    return answer


def _shown(value: Any) -> str:
    return "an empty dict" if value == {} and isinstance(value, dict) else type(value).__name__
