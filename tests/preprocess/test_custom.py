"""A model's own ``encode`` and ``decode``: what they may return, and what they may not."""

import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.preprocess.codecs import open_codec
from services.preprocess.custom import CustomCodec
from services.preprocess.encoded import Encoded
from shared.contract import Success, Tensor
from shared.errors import InvalidRequest, PredictionFailed
from shared.model_folder import open_model
from shared.model_spec import Cost, ModelRefused


def codec(folder: Path, returns: str, cost: Cost = Cost.FIXED, decodes: str = "outputs") -> Any:
    python = (
        "import numpy\n"
        f"def encode(given):\n    return {returns}\n"
        f"def decode(outputs):\n    return {decodes}\n"
    )
    (folder / "model.py").write_text(python)
    return CustomCodec(folder, cost)


def only(made: CustomCodec, given: Any = None) -> Encoded | BaseException:
    (row,) = made.encode([given], truncate=False)
    return row


@pytest.mark.parametrize(
    ("returns", "dtype", "lengths", "inner", "values"),
    [
        ("{'x': [1, 2]}", "<i8", (2,), (), struct.pack("<2q", 1, 2)),
        ("{'x': [1, 2.5]}", "<f4", (2,), (), struct.pack("<2f", 1, 2.5)),
        ("{'x': [[1, 2], [3, 4]]}", "<i8", (2,), (2,), struct.pack("<4q", 1, 2, 3, 4)),
        ("{'x': 7}", "<i8", (1,), (), struct.pack("<q", 7)),
        ("{'x': numpy.ones((2, 3), 'float32')}", "<f4", (2,), (3,), struct.pack("<6f", *[1] * 6)),
        ("{'x': numpy.uint8(5)}", "|u1", (1,), (), b"\x05"),
    ],
)
def test_numbers_lists_and_arrays_are_tensors(
    tmp_path: Path, returns: str, dtype: str, lengths: Any, inner: Any, values: bytes
) -> None:
    row = only(codec(tmp_path, returns))

    assert isinstance(row, Encoded), row
    (column,) = row.columns
    assert (column.name, column.dtype, column.lengths) == ("x", dtype, lengths)
    assert (column.inner, column.values) == (inner, values)


@pytest.mark.parametrize(("cost", "tokens"), [(Cost.FIXED, 2), (Cost.PADDED, 5), (Cost.PACKED, 5)])
def test_a_row_costs_its_length_or_its_bytes(tmp_path: Path, cost: Cost, tokens: int) -> None:
    row = only(codec(tmp_path, "{'x': [1, 2, 3, 4, 5]}", cost))

    assert isinstance(row, Encoded)
    assert row.tokens == tokens


@pytest.mark.parametrize(
    ("returns", "told"),
    [
        ("5", "encode raised TypeError: it returned int, not a dict of arrays by name"),
        ("{}", "it returned an empty dict, not a dict of arrays"),
        ("{'x': object()}", "TypeError: x: a object cannot travel: return numbers, text, bytes"),
        ("{'x': [1j]}", "TypeError: x: a complex cannot travel: return numbers, text"),
        ("{'x': numpy.array([1j])}", "TypeError: an array of complex128 cannot travel: return"),
        ("{'x': [2**70]}", "OverflowError: x has a number that is no <i8: return a NumPy array"),
        ("{'x': [1e300]}", "OverflowError: x has a number that is no <f4: return a NumPy array"),
        ("{'x': '\\ud800'}", "x has half of a surrogate pair: return valid Unicode"),
        ("given['missing']", "encode raised TypeError: 'NoneType' object is not subscriptable"),
        ("int('five')", "invalid literal for int"),
        ("numpy.zeros(0) and 1 / 0", "ZeroDivisionError|ambiguous|truth value"),
    ],
)
def test_what_goes_wrong_in_encode_is_the_inputs_error(
    tmp_path: Path, returns: str, told: str
) -> None:
    refusal = only(codec(tmp_path, returns))

    assert isinstance(refusal, InvalidRequest)
    with pytest.raises(InvalidRequest, match=told):
        raise refusal


@pytest.mark.parametrize(
    ("array", "listed"),
    [
        (np.array([[1, 2], [3, 4]], "<i4"), [[1, 2], [3, 4]]),
        (np.float32(2.5), 2.5),
        (np.array([True, False]), [True, False]),
        (np.zeros((2, 0), "<f4"), [[], []]),
        (np.zeros((0, 2), "<f4"), []),
    ],
)
def test_outputs_are_numbers_and_lists(tmp_path: Path, array: Any, listed: Any) -> None:
    tensor = Tensor("y", array.dtype.str, array.shape, array.tobytes())

    answer = codec(tmp_path, "given").decode(Success((tensor,)), top_k=1)

    assert answer == {"y": listed}


@pytest.mark.parametrize(
    ("decodes", "told"),
    [
        ("outputs['z']", "decode raised KeyError: 'z'"),
        ("[1]", "decode returned list, not a dict"),
        ("exit(3)", "decode raised SystemExit: 3"),
    ],
)
def test_what_goes_wrong_in_decode_is_the_models_fault(
    tmp_path: Path, decodes: str, told: str
) -> None:
    with pytest.raises(PredictionFailed, match=told):
        codec(tmp_path, "given", decodes=decodes).decode(Success(()), top_k=1)


def test_a_type_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    tensor = Tensor("y", "<f16", (1,), b"\0" * 16)

    with pytest.raises(PredictionFailed, match=r"output y is <f16, which this version does not"):
        codec(tmp_path, "given").decode(Success((tensor,)), top_k=1)


def test_numbers_of_numpy_in_an_answer_are_json(tmp_path: Path) -> None:
    decodes = "{'score': numpy.float32(0.5), 'all': [numpy.arange(2)], 'at': {'n': numpy.int64(1)}}"

    answer = codec(tmp_path, "given", decodes=decodes).decode(Success(()), top_k=1)

    assert answer == {"score": 0.5, "all": [[0, 1]], "at": {"n": 1}}


def test_encode_and_decode_are_told_their_folder_where_they_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("good bad")
    (tmp_path / "model.py").write_text(
        "def encode(given, folder):\n"
        "    return {'at': (folder / 'words.txt').read_text().split().index(given)}\n"
        "def decode(outputs, *, folder):\n"
        "    return {'word': (folder / 'words.txt').read_text().split()[outputs['at']]}\n"
    )
    made = CustomCodec(tmp_path, Cost.FIXED)

    row = only(made, "bad")

    assert isinstance(row, Encoded), row
    assert row.columns[0].values == struct.pack("<q", 1)
    answer = made.decode(Success((Tensor("at", "<i8", (), row.columns[0].values),)), top_k=1)
    assert answer == {"word": "bad"}


def test_code_that_goes_elsewhere_leaves_its_process_where_it_was(tmp_path: Path) -> None:
    before = Path.cwd()
    away = "[__import__('os').chdir('/'), {'x': 1}][1]"
    made = codec(tmp_path, away, decodes=away)

    try:
        row = only(made)
        after_encode = Path.cwd()
        made.decode(Success(()), top_k=1)
        after_decode = Path.cwd()
    finally:
        os.chdir(before)

    assert isinstance(row, Encoded)
    assert (after_encode, after_decode) == (before, before)


@pytest.mark.parametrize("where", ["inline", "worker"])
def test_a_sample_that_encode_does_not_take_is_refused_where_encode_runs(
    tmp_path: Path, where: str
) -> None:
    folder = tmp_path / "own"
    (folder / "1").mkdir(parents=True)
    (folder / "model.toml").write_text(
        f'task = "custom"\nbackend = "python"\nsample = ["5", "five"]\npreprocess = "{where}"\n'
    )
    codec(folder / "1", "{'x': int(given)}")
    spec = open_model(folder, weights=False).default

    if where == "worker":  # a gateway has not its packages, perhaps
        assert open_codec(spec).foreign
        return
    with pytest.raises(ModelRefused) as refused:
        open_codec(spec)

    assert str(refused.value) == (
        f"{folder / 'model.toml'}: its sample is not taken: invalid literal for int() with base "
        f"10: 'five': write one that encode in {folder / '1' / 'model.py'} takes, or mend that"
    )


def test_a_list_is_several_inputs_and_anything_else_is_one() -> None:
    assert CustomCodec.read(b'[{"a": 1}, "b"]') == [{"a": 1}, "b"]
    assert CustomCodec.read(b'{"a": 1}') == [{"a": 1}]
    with pytest.raises(msgspec.DecodeError):
        CustomCodec.read(b"[]")
