"""Which codec belongs to which kind of model: the one door to encoding and decoding."""

from collections.abc import Sequence
from typing import Any, Protocol, assert_never

from services.preprocess.custom import CustomCodec, bad_sample
from services.preprocess.echo import EchoCodec
from services.preprocess.encoded import Encoded
from services.preprocess.image import ImageCodec
from services.preprocess.table import TableCodec
from services.preprocess.text import TextCodec
from services.preprocess.tokenizer import open_tokenizer
from shared.contract import Success
from shared.errors import RequestRejected
from shared.model_config import read_model_config
from shared.model_spec import ModelRefused, ModelSpec, Preprocess, Task
from shared.models.user_code.calls import inputs_of


class Codec(Protocol):
    """Inputs to tensors and back to answers, for one version of one model; thread-safe."""

    quick: bool
    """A few small inputs take microseconds: the event loop may encode them by itself."""

    foreign: bool
    """The model's own Python encodes and decodes, which may take long, or never return."""

    row_weight: int
    """What each input weighs as tensors; 0 where that depends on the input."""

    def read(self, inputs: bytes) -> list[Any]:
        """The inputs of a request, from their JSON: one of them, or a list of several.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError: they are not of this model's kind.
        """
        ...

    def encode(self, inputs: Sequence[Any], *, truncate: bool) -> list[Encoded | RequestRejected]:
        """Same order; an input that cannot be served is an error in its place."""
        ...

    def decode(self, success: Success, *, top_k: int) -> dict[str, object]:
        """The answer for one row.

        Raises:
            ServiceError: the outcome is not one of this model.
        """
        ...


def open_codec(spec: ModelSpec) -> Codec:
    """Read what the model's codec needs; seconds for a large vocabulary.

    Raises:
        ModelRefused: its files cannot be read.
    """
    match spec.task:
        case Task.TEXT_CLASSIFICATION | Task.SENTENCE_EMBEDDING:
            return TextCodec(spec, open_tokenizer(spec))
        case Task.IMAGE_CLASSIFICATION:
            return _with_a_sample(ImageCodec(spec), spec)
        case Task.TABULAR_CLASSIFICATION:
            return TableCodec(spec)
        case Task.CUSTOM:
            return _with_its_sample(CustomCodec(spec.folder, spec.cost), spec)
        case Task.ECHO:
            return EchoCodec(spec)
        case _:
            assert_never(spec.task)


def _with_a_sample(codec: ImageCodec, spec: ModelSpec) -> ImageCodec:
    """The same one, when it can read the model's own picture."""
    (row,) = codec.encode([spec.sample], truncate=False)
    if isinstance(row, RequestRejected):
        why, _, _ = row.detail.partition(": ")
        raise ModelRefused(
            f'{spec.file}: sample = "{read_model_config(spec.file).sample}": {why}: put a small '
            "PNG, JPEG or WebP into the model's folder and write its name"
        )
    return codec


def _with_its_sample(codec: CustomCodec, spec: ModelSpec) -> CustomCodec:
    """The same one, when its ``encode`` takes the model's own sample, where it runs here."""
    if spec.preprocess is Preprocess.INLINE:
        for row in codec.encode(inputs_of(spec.sample), truncate=False):
            if isinstance(row, RequestRejected):
                raise ModelRefused(bad_sample(spec, row))
    return codec
