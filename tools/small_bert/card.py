"""The parts that every model card has."""

from dataclasses import dataclass
from typing import Final

from torch import nn

from tools.small_bert.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Run:
    """What the card says of the training run."""

    recipe: Recipe
    seed: int
    threads: int
    cpu_minutes: float

    def __str__(self) -> str:
        cores = "1 core" if self.threads == 1 else f"{self.threads} cores"
        return f"{self.cpu_minutes:.0f} minutes of CPU time, on {cores}"


SHAPE: Final = """\
| | |
| --- | --- |
| class | `BertForSequenceClassification`, {parameters:.1f} M parameters |
| shape | {recipe.layers} layers, width {recipe.width}, {recipe.heads} heads |
| vocabulary | WordPiece, lower-cased, {recipe.vocab_size:,} pieces |
| longest input | {recipe.max_tokens} tokens |"""

TRAINING: Final = """\
- {recipe.joint_epochs} epochs learn to fill in masked pieces and to classify the masked text at
  once; {recipe.classify_epochs} more only classify.
- {targets}
- Segmentation is drawn anew each epoch (MaxMatch-Dropout).
- {recipe.long_rows} rows of joined {texts} per epoch train the positions no single {text} reaches.
- Weights are stored as float16, to be loaded as float32, as they were for the figures above."""


def shape(model: nn.Module, recipe: Recipe) -> str:
    """A table."""
    parameters = sum(weight.numel() for weight in model.parameters()) / 1e6
    return SHAPE.format(parameters=parameters, recipe=recipe)


def training(recipe: Recipe, *, targets: str, text: str) -> str:
    """A list; ``targets`` is the item that says what is learnt, ``text`` what a row is called."""
    return TRAINING.format(recipe=recipe, targets=targets, text=text, texts=f"{text}s")


def verdict(accuracy: float, baseline: float) -> str:
    side = "above" if accuracy >= baseline else "**below**"
    return f"The model is {side} the baseline."
