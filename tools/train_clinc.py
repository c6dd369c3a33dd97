"""Train the shipped model of intents on CLINC150, from scratch, on a CPU.

    python -m tools.train_clinc --data <folder of the CLINC150 files>              # train, score
    python -m tools.train_clinc --data <folder of the CLINC150 files> --evaluate   # score only

The recipe is that of ``tools.train_nsmc`` with 151 labels, ``oos`` (out of scope) one of them,
and another teacher: logistic regression over n-grams of words and of characters. At last the bias
of ``oos`` is raised. The published validation split is held out to choose by; nothing is tuned on
the test split, which is scored on the stored weights.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from tools.log import log
from tools.small_bert.card import Run, shape, training, verdict
from tools.small_bert.checkpoint import predict_stored
from tools.small_bert.command import Task, run
from tools.small_bert.english import ALPHABET, ngrams
from tools.small_bert.recipe import Recipe
from tools.small_bert.rows import Floats, Ints, read_pairs, read_rows
from tools.small_bert.teacher import soft_targets
from tools.small_bert.training import Lesson, Trained

TRAIN: Final = "train.tsv.gz"
HELD_OUT: Final = "val.tsv.gz"
TEST: Final = "test.tsv.gz"
OUT_OF_SCOPE: Final = "oos"
BASELINE: Final = 0.906  # TF-IDF, logistic regression: test accuracy in scope
SHIFTS: Final = np.arange(0, 8.01, 0.25)  # of a logit, to choose from by the rows held out
RECIPE: Final = Recipe(
    vocab_size=2_000,
    max_tokens=64,
    teacher_c=50.0,
    teacher_steps=40,
    teacher_share=0.3,
    folds=5,
    joint_epochs=40,
    classify_epochs=12,
    batch_rows=64,
    long_rows=300,
    shortest_long_row=20,
    endings=("?", ".", "!"),
    ended_share=0.2,
)


# --- data ---------------------------------------------------------------------------------------


def labels_in(file: Path) -> list[str]:
    """Intents in the order of the alphabet, out of scope after them."""
    return [*sorted({label for _, label in read_pairs(file)} - {OUT_OF_SCOPE}), OUT_OF_SCOPE]


def prepare(data: Path, recipe: Recipe, seed: int) -> Lesson:
    labels = labels_in(data / TRAIN)
    rows = read_rows(data / TRAIN, labels)
    targets = soft_targets(ngrams(rows.texts), rows.labels, recipe, seed)
    return Lesson(labels, rows, targets, read_rows(data / HELD_OUT, labels))


# --- out of scope -------------------------------------------------------------------------------


def notice_more(lesson: Lesson, trained: Trained) -> Trained:
    """Add to the bias of "out of scope" until as many as can be of the rows held out are right.

    A hundred examples of what is none of 150 intents teach the model to say so far too seldom.
    """
    outside = lesson.labels.index(OUT_OF_SCOPE)
    shift = best_shift(trained.logits, lesson.held_out.labels, outside)
    log(f"bias of {OUT_OF_SCOPE}: {shift:+.2f}")
    with torch.no_grad():
        trained.model.classifier.bias[outside] += shift
    return replace(trained, logits=shifted(trained.logits, outside, shift))


def best_shift(logits: Floats, labels: Ints, outside: int) -> float:
    """The smallest of those with the most rows right."""
    right = [(shifted(logits, outside, s).argmax(axis=1) == labels).sum() for s in SHIFTS]
    return float(SHIFTS[int(np.argmax(right))])


def shifted(logits: Floats, label: int, by: float) -> Floats:
    moved = logits.copy()
    moved[:, label] += by
    return moved


# --- scoring ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of rows whose likeliest label is the right one."""

    rows: int
    accuracy: float
    rows_in_scope: int
    in_scope: float
    rows_out_of_scope: int
    out_of_scope: float
    refused: float
    """Of the rows in scope, those that are said to be out of it."""

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.4f} on {self.rows} rows, in scope {self.in_scope:.4f} "
            f"({self.refused:.4f} refused), out of scope {self.out_of_scope:.4f}"
        )


def score_of(predicted: npt.NDArray[Any], right: npt.NDArray[Any], outside: object) -> Score:
    """``outside`` is the label that means out of scope, as a number or by name as the others."""
    hit, beyond = predicted == right, right == outside
    return Score(
        rows=len(hit),
        accuracy=float(hit.mean()),
        rows_in_scope=int((~beyond).sum()),
        in_scope=float(hit[~beyond].mean()),
        rows_out_of_scope=int(beyond.sum()),
        out_of_scope=float(hit[beyond].mean()),
        refused=float((predicted[~beyond] == outside).mean()),
    )


def evaluate(folder: Path, data: Path) -> Score:
    """Score a stored checkpoint on the whole test split."""
    texts, labels = zip(*read_pairs(data / TEST), strict=True)
    return score_of(predict_stored(folder, texts), np.array(labels), OUT_OF_SCOPE)


# --- the card -----------------------------------------------------------------------------------

TARGETS: Final = """\
The target is the label drawn towards a teacher's out-of-fold probabilities (three tenths of
  it). The teacher is a logistic regression over words, pairs of words and 2 to 5 characters."""

CARD: Final = """\
---
language: en
license: cc-by-3.0
library_name: transformers
pipeline_tag: text-classification
tags:
- intent-classification
- bert
datasets:
- clinc_oos
metrics:
- accuracy
model-index:
- name: clinc-intents
  results:
  - task:
      type: text-classification
    dataset:
      type: clinc_oos
      name: CLINC150, in scope
      split: test
    metrics:
    - type: accuracy
      value: {score.in_scope:.4f}
---

# clinc-intents

Says which of 150 intents a short English request to an assistant has (`book_flight`,
`card_declined`, `translate`), or `oos` where it has none of them: out of scope. A demo model,
trained from scratch: small enough to live in the repository and to answer on a CPU.

{shape}

## Accuracy

| on the test split, stored weights | accuracy |
| --- | ---: |
| **in scope**, {score.rows_in_scope:,} rows of 150 intents | **{score.in_scope:.4f}** |
| out of scope, {score.rows_out_of_scope:,} rows: found to be | {score.out_of_scope:.4f} |
| all {score.rows:,} rows | {score.accuracy:.4f} |
| in-scope rows taken for out of scope | {score.refused:.4f} |
| baseline: TF-IDF, logistic regression, in scope | {baseline} |

{verdict} To measure it again:

    python -m tools.train_clinc --data <folder of the CLINC150 files> --evaluate

## Data

CLINC150 (GitHub, clinc/oos-eval; the full set with out-of-scope queries): Stefan Larson, Anish
Mahendran, Joseph J. Peper, Christopher Clarke, Andrew Lee, Parker Hill, Jonathan K. Kummerfeld,
Kevin Leach, Michael A. Laurenzano, Lingjia Tang, Jason Mars: "An Evaluation Dataset for Intent
Classification and Out-of-Scope Prediction", EMNLP-IJCNLP 2019. It is released under CC BY 3.0.

Training rows: the train split, 100 of each intent and 100 out of scope. The validation split was
held out to choose by ({held_out.rows:,} rows; in scope {held_out.in_scope:.4f}, out of scope
{held_out.out_of_scope:.4f}). Nothing was tuned on the test split.

## Training

    python -m tools.train_clinc --data <folder of the CLINC150 files> --seed {run.seed}

took {run}. Run again it gives other weights and about the
same figures: WordPiece numbers equally frequent pieces as they come.

{training}
- The bias of `oos` was raised at last, to where as many as can be of the rows held out are right:
  a hundred examples of what is none of 150 intents teach a model to say so far too seldom.
- One row in five gets a question mark, a full stop or an exclamation mark: the data has none.

## Limits

- **Out of scope is often not noticed**: {missed:.0%} of the test rows that no intent fits got an
  intent nevertheless; there are 100 examples to learn it by. Do not act upon the label alone.
- English, one short request (the median of the data is 8 words), and these 150 intents of ten
  domains. Longer texts, dialogues and other languages are outside what was measured.
- The queries were written by crowd workers to prompts; what people really say to an assistant is
  more varied.
- The probabilities are drawn towards the teacher's: they are not calibrated.

## Licence

The weights are released under CC BY 3.0, with credit to the authors above: they were learnt from
their queries, and the vocabulary consists of pieces of them.
"""


def card_of(lesson: Lesson, trained: Trained, score: Score, run: Run) -> str:
    outside = lesson.labels.index(OUT_OF_SCOPE)
    return CARD.format(
        shape=shape(trained.model, run.recipe),
        training=training(run.recipe, targets=TARGETS, text="request"),
        verdict=verdict(score.in_scope, BASELINE),
        baseline=BASELINE,
        held_out=score_of(trained.held_out, lesson.held_out.labels, outside),
        missed=1 - score.out_of_scope,
        score=score,
        run=run,
    )


TASK: Final = Task(
    about=__doc__.partition("\n")[0],
    files=(TRAIN, HELD_OUT, TEST),
    out=Path("models/clinc-intents/1"),
    recipe=RECIPE,
    prepare=prepare,
    evaluate=evaluate,
    card=card_of,
    finish=notice_more,
    alphabet=ALPHABET,
)

if __name__ == "__main__":
    sys.exit(run(TASK))
