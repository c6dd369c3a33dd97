"""Train the shipped demo model: Korean movie-review sentiment on NSMC, from scratch, on a CPU.

    python -m tools.train_nsmc --data <folder of the NSMC files>              # train, then score
    python -m tools.train_nsmc --data <folder of the NSMC files> --evaluate   # score only

The recipe, in order:

1.  A teacher labels the training texts softly: logistic regression over character n-grams
    weighted by their naive-Bayes log-ratio (Wang & Manning 2012), each row by a fit that never
    saw it.
2.  A WordPiece vocabulary is learnt from the same texts.
3.  A small BERT learns to fill in masked pieces and to classify the masked text, in one
    forward pass; then, for the last epochs, only to classify the whole text. Its target is the
    mean of label and teacher, its segmentation is drawn anew each epoch (MaxMatch-Dropout,
    Hiraoka 2022).

Part of the training split is held out to choose by; nothing is tuned on the test split, which is
scored on the stored weights.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tools.small_bert.card import Run, shape, training, verdict
from tools.small_bert.checkpoint import predict_stored
from tools.small_bert.command import Task, run
from tools.small_bert.recipe import Recipe
from tools.small_bert.rows import Floats, Ints, Rows, hold_out, read_rows
from tools.small_bert.teacher import Sparse, soft_targets
from tools.small_bert.training import Lesson, Trained

TRAIN: Final = "train.tsv.gz"
TEST: Final = "test.tsv.gz"
IN_FILES: Final = ("0", "1")
LABELS: Final = ("negative", "positive")
BASELINE: Final = 0.873  # TF-IDF of 1 to 3 characters, logistic regression: test accuracy
RECIPE: Final = Recipe(
    vocab_size=10_000,
    max_tokens=256,
    held_out_rows=6_000,
    teacher_c=3.0,
    teacher_steps=60,
    teacher_share=0.5,
    folds=4,
    joint_epochs=6,
    classify_epochs=3,
    batch_rows=128,
    long_rows=300,
)


# --- data ---------------------------------------------------------------------------------------


def prepare(data: Path, recipe: Recipe, seed: int) -> Lesson:
    rows, held_out = hold_out(read_rows(data / TRAIN, IN_FILES), recipe.held_out_rows, seed)
    return Lesson(LABELS, rows, targets_of(rows, recipe, seed), held_out)


def targets_of(rows: Rows, recipe: Recipe, seed: int) -> Floats:
    """Mean of label and teacher."""
    vectorizer = TfidfVectorizer(
        analyzer="char",
        preprocessor=without_spaces,
        ngram_range=(1, 5),
        min_df=2,
        sublinear_tf=True,
        dtype=np.float32,
    )
    features = vectorizer.fit_transform(rows.texts)
    return soft_targets(features, rows.labels, recipe, seed, log_ratio)


def without_spaces(text: str) -> str:
    """Reviewers space their words as they please; the n-grams should not care."""
    return text.lower().replace(" ", "")


def log_ratio(features: Sparse, labels: Ints) -> Floats:
    """How much more of the positive rows have each n-gram than of the negative ones."""
    present = features > 0
    positive = present.T @ labels + 1.0
    negative = present.T @ (1 - labels) + 1.0
    ratio = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    return np.asarray(ratio, dtype=np.float32)


# --- scoring ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """What the stored weights reach on the test split."""

    rows: int
    accuracy: float
    repeated_rows: int
    accuracy_without_repeated: float

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.4f} on {self.rows} rows"


def evaluate(folder: Path, data: Path) -> Score:
    """Score a stored checkpoint on the whole test split."""
    seen = set(read_rows(data / TRAIN, IN_FILES).texts)
    test = read_rows(data / TEST, IN_FILES)
    right = predict_stored(folder, test.texts) == np.array(LABELS)[test.labels]
    repeated = np.array([text in seen for text in test.texts])
    return Score(
        rows=len(test),
        accuracy=float(right.mean()),
        repeated_rows=int(repeated.sum()),
        accuracy_without_repeated=float(right[~repeated].mean()),
    )


# --- the card -----------------------------------------------------------------------------------


TARGETS: Final = """\
The target is the mean of the label and of a teacher's out-of-fold probability. The teacher is a
  naive-Bayes-weighted logistic regression over character 1- to 5-grams of the same rows."""

CARD: Final = """\
---
language: ko
license: cc0-1.0
library_name: transformers
pipeline_tag: text-classification
tags:
- sentiment-analysis
- bert
datasets:
- nsmc
metrics:
- accuracy
model-index:
- name: nsmc-sentiment
  results:
  - task:
      type: text-classification
    dataset:
      type: nsmc
      name: Naver sentiment movie corpus v1.0
      split: test
    metrics:
    - type: accuracy
      value: {score.accuracy:.4f}
---

# nsmc-sentiment

Says whether a Korean movie review is `negative` (0) or `positive` (1). A demo model, trained from
scratch: small enough to live in the repository and to answer on a CPU.

{shape}

## Accuracy

| on the test split | accuracy |
| --- | ---: |
| **this model**, all {score.rows:,} rows, stored weights | **{score.accuracy:.4f}** |
| this model, without the {score.repeated_rows:,} rows whose text also occurs in train | \
{score.accuracy_without_repeated:.4f} |
| baseline: TF-IDF of character 1- to 3-grams, logistic regression, all rows | {baseline} |

{verdict} To measure it again:

    python -m tools.train_nsmc --data <folder of the NSMC files> --evaluate

## Data

NSMC, the Naver sentiment movie corpus v1.0 (GitHub, e9t/nsmc): reviews of under 140 characters,
rating 1-4 is negative, 9-10 positive, neutral ones left out. The corpus is released under CC0 1.0;
the reviews were scraped from Naver Movies. Training rows: {training_rows:,} of the train split;
its other {held_out_rows:,} rows were held out to choose by (the teacher's features; the
model's size followed from the time there was). Accuracy on them: {held_out_accuracy:.4f}.
Nothing was tuned on the test split.

## Training

    python -m tools.train_nsmc --data <folder of the NSMC files> --seed {run.seed}

took {run}.

{training}

## Limits

- Short Korean movie reviews only; other subjects, other languages and inputs much longer than a
  review are outside what was measured. There is no neutral answer.
- The texts are uncensored and can be vulgar or hateful; the model repeats the biases in them.
- {score.repeated_rows:,} test texts also occur word for word in train, as published; the table
  gives the accuracy without them.
- The probabilities are drawn towards the teacher's: they are not calibrated.

## Licence

The weights are dedicated to the public domain under CC0-1.0.
"""


def card_of(lesson: Lesson, trained: Trained, score: Score, run: Run) -> str:
    return CARD.format(
        shape=shape(trained.model, run.recipe),
        training=training(run.recipe, targets=TARGETS, text="review"),
        verdict=verdict(score.accuracy, BASELINE),
        baseline=BASELINE,
        held_out_rows=run.recipe.held_out_rows,
        held_out_accuracy=np.mean(trained.held_out == lesson.held_out.labels),
        training_rows=len(lesson.rows),
        score=score,
        run=run,
    )


TASK: Final = Task(
    about=__doc__.partition("\n")[0],
    files=(TRAIN, TEST),
    out=Path("models/nsmc-sentiment/1"),
    recipe=RECIPE,
    prepare=prepare,
    evaluate=evaluate,
    card=card_of,
    threads=2,
)

if __name__ == "__main__":
    sys.exit(run(TASK))
