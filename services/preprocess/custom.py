"""A model whose own Python encodes its inputs and decodes its outputs.

The wall to that code: what it raises is a row's error and a line of the log, what it returns is
checked. What a value is on the wire, :mod:`shared.models.user_code.values` says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from services.preprocess.encoded import Encoded
from shared.contract import Success, weight
from shared.errors import InvalidRequest, PredictionFailed, RequestRejected
from shared.model_spec import Cost, ModelSpec
from shared.models.user_code.calls import BadAnswer, decoded, encoded, with_folder
from shared.models.user_code.raised import Complaints, Raised, Tell
from shared.models.user_code.surroundings import working_directory, working_directory_kept
from shared.own_python import FILE, load_own_python

_decode: Final = msgspec.json.Decoder(Any).decode


class CustomCodec:
    """Runs the model's ``encode`` and ``decode``; ``tell`` hears what they raise, else the log."""

    quick = False
    foreign = True
    row_weight = 0

    def __init__(self, folder: Path, cost: Cost, *, tell: Tell | None = None) -> None:
        self._folder = folder = folder.absolute()
        self._tell = tell or Complaints(folder)
        self._home = working_directory()
        module = load_own_python(folder, "encode", "decode", owner=self, tell=self._tell)
        self._encode_one = with_folder(module.encode, folder)
        self._decode_one = with_folder(module.decode, folder)
        self._cost = cost

    @staticmethod
    def read(inputs: bytes) -> list[Any]:
        """Any JSON; a list is several inputs.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError: it is no JSON.
        """
        given = _decode(inputs)
        several = given if isinstance(given, list) else [given]
        if not several:
            raise msgspec.ValidationError("Expected `array` of length >= 1")
        return several

    def encode(
        self,
        inputs: Sequence[Any],
        *,
        truncate: bool,  # noqa: ARG002 - the model's own code decides
    ) -> list[Encoded | RequestRejected]:
        """Same order; what the model's ``encode`` raises is the input's fault."""
        return [self._encode(one) for one in inputs]

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:  # noqa: ARG002
        """What the model's ``decode`` makes of the named outputs.

        Raises:
            PredictionFailed: it raised, or answered with something else than an object
        """
        try:
            with working_directory_kept(self._home):
                return decoded(self._decode_one, success)
        except BadAnswer as bad:
            raise PredictionFailed(str(bad)) from bad
        except BaseException as exc:  # the wall: it is the operator's code
            self._tell(Raised.of(exc, function="decode", folder=self._folder))
            raise PredictionFailed(f"decode raised {type(exc).__name__}: {exc}") from exc

    def _encode(self, given: Any) -> Encoded | RequestRejected:
        try:
            with working_directory_kept(self._home):
                columns = encoded(self._encode_one, given)
        except BaseException as exc:  # noqa: BLE001 -- the wall: as above
            self._tell(Raised.of(exc, function="encode", folder=self._folder))
            known = isinstance(exc, ValueError) and str(exc)
            return InvalidRequest(known or f"the model's encode raised {type(exc).__name__}: {exc}")
        size = columns[0].lengths[0]
        if self._cost is Cost.FIXED:
            size = weight(sum(len(column.values) for column in columns))
        return Encoded(columns, max(size, 1))


def bad_sample(spec: ModelSpec, refusal: RequestRejected) -> str:
    """What is said of a model whose ``encode`` does not take its own sample."""
    return (
        f"{spec.file}: its sample is not taken: {' '.join(refusal.detail.split())}: write one that "
        f"encode in {spec.folder / FILE} takes, or mend that"
    )
