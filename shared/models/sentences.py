"""What ``model.toml`` and the files of sentence-transformers state together.

Between :mod:`shared.model_folder`, which knows versions, and
:mod:`shared.models.sentence_modules`, which knows the library's files.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shared.model_config import ModelConfig
from shared.model_spec import ModelRefused, ModelSpec, Task
from shared.models.embedding import Embedding, Normalize
from shared.models.sentence_modules import (
    MODULES,
    SentenceModel,
    assumed_sentence_model,
    holds_sentence_model,
    read_sentence_model,
)
from shared.models.sentence_steps import check_step_weights


def task_of(versions: Sequence[Path]) -> Task:
    """What the folders of all versions are where ``model.toml`` does not say it.

    Raises:
        ModelRefused: sentence-transformers wrote what nothing here serves
    """
    if versions and all(holds_sentence_model(folder) for folder in versions):
        return Task.SENTENCE_EMBEDDING
    return Task.TEXT_CLASSIFICATION


def sentences_in(folder: Path, config: ModelConfig, *, weights: bool) -> SentenceModel | None:
    """What is stated of sentences in the folder of one version; None where the task is another.

    Raises:
        ModelRefused: it cannot be computed exactly, or lacks weights that are to be loaded here.
    """
    if config.task is not Task.SENTENCE_EMBEDDING:
        return None
    if not (folder / MODULES).is_file():
        return assumed_sentence_model(folder)
    sentences = read_sentence_model(folder)
    if weights:
        check_step_weights(sentences.embedding)
    return sentences


def with_sentences(spec: ModelSpec, config: ModelConfig, sentences: SentenceModel) -> ModelSpec:
    """The same model, with what is stated of its sentences.

    Raises:
        ModelRefused: ``model.toml`` contradicts the files
    """
    takes = replace(spec.text, prompt=sentences.prompt, lower_case=sentences.lower_case)
    embedding = _pooled_as_told(sentences.embedding, spec, config)
    if config.normalize is not None:
        kept = [step for step in embedding.steps if config.normalize or step != Normalize()]
        embedding = replace(embedding, steps=tuple(kept), normalize=config.normalize)
    return replace(spec, takes=takes, embedding=embedding)


def _pooled_as_told(stated: Embedding, spec: ModelSpec, config: ModelConfig) -> Embedding:
    """With ``pooling`` of ``model.toml`` in the place of the stated one."""
    if config.pooling is None:
        return stated
    if len(stated.pooling) > 1 and any(step != Normalize() for step in stated.steps):
        raise ModelRefused(
            f'{spec.file}: pooling = "{config.pooling}" makes shorter vectors than '
            f"{' and '.join(stated.pooling)}, which the Dense after it takes in {spec.folder}: "
            "leave pooling out"
        )
    return replace(stated, pooling=(config.pooling,))
