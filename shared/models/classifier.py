"""What ``config.json`` says of a classifier of texts: labels, scores, whether it takes pairs.

Answers what transformers' text-classification pipeline does with the same file, and what
sentence-transformers says of its cross-encoders. Pure: values in, values out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from shared.model_spec import ModelRefused, Scoring

HEAD: Final = "ForSequenceClassification"
_OWN_PYTHON: Final = 'serve it with your own Python (task = "custom", docs/your-own-python.md)'
_EMBEDDING: Final = 'for sentence embeddings write task = "sentence-embedding" into model.toml'

_ONNX_PICTURES: Final = (
    'export it to ONNX, and write task = "image-classification", backend = "onnx", labels, sample '
    "and image = {width = …, height = …} into model.toml (docs/models.md)"
)
_OTHERS: Final = (
    (("TokenClassification",), "labels the words of a text", _OWN_PYTHON),
    (
        ("ImageClassification",),
        "classifies pictures",
        _ONNX_PICTURES,
    ),
    (("QuestionAnswering", "MultipleChoice"), "answers questions", _OWN_PYTHON),
    (("Audio", "Speech", "ForCTC", "XVector"), "listens to sound", _OWN_PYTHON),
    (
        ("Detection", "Segmentation", "DepthEstimation", "VisionModel", "ImageText", "Vision2Seq"),
        "looks at pictures",
        _OWN_PYTHON,
    ),
    (
        ("ForCausalLM", "LMHead", "ConditionalGeneration", "Seq2SeqLM", "DoubleHeads"),
        "writes text",
        f"give a checkpoint that was fine-tuned to classify, or {_OWN_PYTHON}",
    ),
    (
        ("MaskedLM", "PreTraining", "NextSentencePrediction"),
        "was trained on text, and not yet to classify it",
        f"give a checkpoint that was fine-tuned to classify; {_EMBEDDING}",
    ),
)
"""Words of an architecture's name, what such a model does, and how it can be served."""

_SCORING: Final = {
    "regression": Scoring.IDENTITY,
    "multi_label_classification": Scoring.SIGMOID,
    "single_label_classification": Scoring.SOFTMAX,
}
_OF_TWO_TEXTS: Final = (
    frozenset({"entailment", "neutral", "contradiction"}),
    frozenset({"entailment", "contradiction"}),
    frozenset({"entailment", "not_entailment"}),
    frozenset({"equivalent", "not_equivalent"}),
    frozenset({"duplicate", "not_duplicate"}),
)
"""Labels of models that compare two texts: SNLI's and MultiNLI's, and of GLUE RTE's and QNLI's,
MRPC's, QQP's."""


class CrossEncoder(msgspec.Struct, frozen=True):
    """``config_sentence_transformers.json``, and the part of ``config.json`` of that name."""

    model_type: str | None = None
    activation_fn: str | None = None


class ClassifierConfig(msgspec.Struct, frozen=True):
    """``config.json``, as far as it is about labels and scores."""

    model_type: str = ""
    architectures: tuple[str, ...] | None = None
    num_labels: int | None = None
    id2label: dict[str, Any] | None = None
    problem_type: str | None = None
    sentence_transformers: CrossEncoder | None = None
    sbert_ce_default_activation_function: str | None = None


def architecture_of(config: ClassifierConfig, file: Path) -> str:
    """The name of its architecture.

    transformers loads a classifier whatever is named there; one that names its labels is one, and
    whether its weights have a head, their loading tells.

    Raises:
        ModelRefused: it is another kind of model: how that can be served
    """
    names = config.architectures or ()
    for name in names:
        if name.endswith(HEAD):
            return name
    stated = ", ".join(names) or "none"
    for words, does, remedy in _OTHERS:
        if any(word in name for name in names for word in words):
            raise ModelRefused(f"{file}: architectures is {stated}, which {does}: {remedy}")
    if _names_labels(config):
        return names[0] if names else config.model_type
    likely = (names[0] if names else "…").removesuffix("Model") + HEAD
    raise ModelRefused(
        f"{file}: architectures is {stated}, and only *{HEAD} is served: give a checkpoint that "
        f'was fine-tuned to classify, write architectures = ["{likely}"] there if its weights have '
        f"a classifier, or {_EMBEDDING}"
    )


def _names_labels(config: ClassifierConfig) -> bool:
    """Not the names that transformers gives by itself."""
    names = (config.id2label or {}).items()
    return any(str(name) != f"LABEL_{index}" for index, name in names)


def labels_of(config: ClassifierConfig, file: Path) -> tuple[str, ...]:
    """Default and count as in transformers.

    It leaves two nameless labels out of the file, and believes ``num_labels`` where the two differ.

    Raises:
        ModelRefused: an output has no name
    """
    given, count = config.id2label, config.num_labels
    if count is not None and count < 1:
        raise ModelRefused(f"{file}: num_labels is {count}: write how many outputs the model has")
    if given is None or (count is not None and count != len(given)):
        return tuple(f"LABEL_{index}" for index in range(2 if count is None else count))
    names = [given.get(str(index)) for index in range(len(given))]
    if not names or None in names:
        raise ModelRefused(
            f"{file}: id2label has the keys {', '.join(given) or 'none'}: "
            "write one for each logit, counted from 0"
        )
    return tuple(str(name) for name in names)


def scoring_of(
    config: ClassifierConfig, labels: Sequence[str], file: Path, *, activation: str | None
) -> Scoring:
    """How logits become scores; ``activation`` is a cross-encoder's own word for it.

    Raises:
        ModelRefused: it is one that is not known
    """
    problem, one = config.problem_type, len(labels) == 1
    if problem is not None and problem not in _SCORING:
        raise ModelRefused(f"{file}: problem_type is {problem}: write one of {', '.join(_SCORING)}")
    if problem == "single_label_classification" and one:
        raise ModelRefused(
            f"{file}: problem_type is {problem} with one label, which transformers does not load: "
            "write regression or multi_label_classification, or leave it out"
        )
    package, _, name = (activation or "").rpartition(".")
    match name if package.partition(".")[0] in ("", "torch") else activation:
        case "Sigmoid":
            return Scoring.SIGMOID
        case "Identity" if one:
            return Scoring.IDENTITY
        case "Softmax" if not one:
            return Scoring.SOFTMAX
        case "" | "Identity":
            return _SCORING.get(problem or "", Scoring.SIGMOID if one else Scoring.SOFTMAX)
        case _:
            raise ModelRefused(
                f"{file}: activation_fn is {activation}, which is not known here: write "
                'scoring = "sigmoid", "identity" or "softmax" into model.toml'
            )


def activation_of(config: ClassifierConfig, beside: CrossEncoder) -> str | None:
    """What sentence-transformers wrote of a cross-encoder's scores, in the order that it reads."""
    inside = config.sentence_transformers
    if inside is not None and inside.activation_fn:
        return inside.activation_fn
    return config.sbert_ce_default_activation_function or beside.activation_fn


def takes_pairs(config: ClassifierConfig, labels: Sequence[str], beside: CrossEncoder) -> bool:
    """A cross-encoder, or a model whose labels say how two texts relate."""
    marked = config.sentence_transformers or config.sbert_ce_default_activation_function
    words = frozenset(
        label.strip().casefold().replace("-", "_").replace(" ", "_") for label in labels
    )
    return bool(marked) or beside.model_type == "CrossEncoder" or words in _OF_TWO_TEXTS
