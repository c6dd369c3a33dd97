"""Read what sentence-transformers states of a whole model, and of its transformer.

``config_sentence_transformers.json`` and ``sentence_bert_config.json``; both may be absent.
Knows nothing of the modules that come after the transformer.
"""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from shared.checkpoint import CROSS_ENCODER, read_json
from shared.model_spec import ModelRefused

WHOLE: Final = CROSS_ENCODER
"""One file for whatever sentence-transformers wrote."""
OF_SENTENCES: Final = "SentenceTransformer"
"""The one kind of model that answers one vector for each text."""
OF_PAIRS: Final = "CrossEncoder"
"""A sequence classifier of two texts."""

TRANSFORMER_FILES: Final = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""The first that is there counts; all but the first name are of old versions."""

_FORWARD: Final = {"method": "forward", "method_output_name": "last_hidden_state"}
_NO_PROMPTS: Final = {"query": "", "document": ""}
"""These two exist where nothing is stated."""

_WITHOUT_EFFECT: Final = frozenset(
    {
        "add_pooling_layer",
        "attn_implementation",
        "device_map",
        "dtype",
        "local_files_only",
        "low_cpu_mem_usage",
        "padding_side",
        "torch_dtype",
        "trust_remote_code",
        "use_cache",
        "use_fast",
        "use_safetensors",
    }
)
"""Arguments of transformers that do not change what is computed, or that the operator decides."""


class WholeModel(msgspec.Struct, frozen=True):
    """What is stated of a whole model."""

    model_type: str = OF_SENTENCES
    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    truncate_dim: Annotated[int, Meta(ge=1)] | None = None

    @property
    def prompt(self) -> str:
        """What stands before every text; empty where there is no default one."""
        if self.default_prompt_name is None:
            return ""
        return (_NO_PROMPTS | self.prompts)[self.default_prompt_name] or ""


class Transformer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stated of the transformer and its tokenizer."""

    max_seq_length: Annotated[int, Meta(ge=1)] | None = None
    do_lower_case: bool | None = False
    tokenizer_name_or_path: str | None = None
    transformer_task: str | None = None
    module_output_name: str | None = None
    modality_config: dict[str, Any] | None = None
    processing_kwargs: dict[str, Any] | None = None
    model_args: dict[str, Any] | None = None
    model_kwargs: dict[str, Any] | None = None
    tokenizer_args: dict[str, Any] | None = None
    processor_kwargs: dict[str, Any] | None = None
    config_args: dict[str, Any] | None = None
    config_kwargs: dict[str, Any] | None = None
    # Of the library's own speed, or of queries and documents that are asked for apart.
    unpad_inputs: bool | None = None
    query_length: int | None = None
    document_length: int | None = None
    query_expansion: dict[str, Any] | None = None


def kind_of(folder: Path) -> str:
    """Which of the library's models it is: :data:`OF_SENTENCES`, :data:`OF_PAIRS` or another.

    Raises:
        ModelRefused: the file cannot be read
    """
    return read_json(folder / WHOLE, WholeModel, optional=True).model_type


def refused_kind(folder: Path, kind: str) -> ModelRefused:
    """The refusal of a model of that kind, where sentence embeddings are wanted."""
    return ModelRefused(
        f'{folder / WHOLE}: model_type = "{kind}" answers no sentence embeddings: give a '
        f'{OF_SENTENCES}, or serve the model with backend = "python", see docs/your-own-python.md'
    )


def read_whole_model(folder: Path) -> WholeModel:
    """What is stated of the model in ``folder``.

    Raises:
        ModelRefused: it makes no sentence embeddings, or names a prompt that is not there.
    """
    file = folder / WHOLE
    stated = read_json(file, WholeModel, optional=True)
    if stated.model_type != OF_SENTENCES:
        raise refused_kind(folder, stated.model_type)
    prompts = _NO_PROMPTS | stated.prompts
    if stated.default_prompt_name is not None and stated.default_prompt_name not in prompts:
        raise ModelRefused(
            f'{file}: default_prompt_name = "{stated.default_prompt_name}" is none of its '
            f"prompts: write one of {', '.join(prompts)}, or null"
        )
    return stated


def read_transformer(folder: Path) -> Transformer:
    """What is stated of the transformer in ``folder``.

    Raises:
        ModelRefused: it is to be used in another way than as one that reads plain texts and
            answers its last hidden state
    """
    file = next((file for name in TRANSFORMER_FILES if (file := folder / name).is_file()), None)
    if file is None:
        return Transformer()
    stated = read_json(file, Transformer)
    modalities = stated.modality_config
    usual: dict[str, bool] = {
        "tokenizer_name_or_path": stated.tokenizer_name_or_path is None,
        "transformer_task": stated.transformer_task in (None, "feature-extraction"),
        "module_output_name": stated.module_output_name in (None, "token_embeddings"),
        "modality_config": modalities is None
        or (modalities.get("text") == _FORWARD and "message" not in modalities),
        "processing_kwargs": not stated.processing_kwargs,
    }
    for name in ("model", "tokenizer", "processor", "config"):
        for key in (f"{name}_args", f"{name}_kwargs"):
            usual[key] = set(getattr(stated, key, None) or ()) <= _WITHOUT_EFFECT
    for key, expected in usual.items():
        if not expected:
            raise ModelRefused(
                f"{file}: {key} = {msgspec.json.encode(getattr(stated, key)).decode()} is not "
                "applied here: leave it out if the model does without, or serve it with backend = "
                '"python", see docs/your-own-python.md'
            )
    return stated
