"""Train a model of news topics on AG News, from scratch, on a CPU: ``make demo-news``.

    python -m tools.train_news --data <folder of the AG News files>              # train, then score
    python -m tools.train_news --data <folder of the AG News files> --evaluate   # score only

AG News is for research and other non-commercial use, and so is what is trained on it: the model
goes to ``build/``, outside of version control, and is not shipped.

The recipe is that of ``tools.train_nsmc`` with 4 labels and up to 512 tokens, and the teacher of
``tools.train_clinc``. Part of the training rows is held out to choose by; nothing is tuned on the
test split, which is scored on the stored weights.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tools.small_bert.card import Run, shape, training, verdict
from tools.small_bert.checkpoint import predict_stored
from tools.small_bert.command import Task, run
from tools.small_bert.english import ALPHABET, ngrams
from tools.small_bert.recipe import Recipe
from tools.small_bert.rows import hold_out, read_rows
from tools.small_bert.teacher import soft_targets
from tools.small_bert.training import Lesson, Trained

TRAIN: Final = "train_subset.tsv.gz"
TEST: Final = "test.tsv.gz"
IN_FILES: Final = ("1", "2", "3", "4")
TOPICS: Final = ("World", "Sports", "Business", "Sci/Tech")
BASELINE: Final = 0.893  # TF-IDF, logistic regression: test accuracy
RECIPE: Final = Recipe(
    vocab_size=6_000,
    max_tokens=512,
    held_out_rows=1_000,
    teacher_c=10.0,
    teacher_steps=40,
    teacher_share=0.5,
    folds=5,
    joint_epochs=12,
    classify_epochs=3,
    batch_rows=16,
    long_rows=100,
)


def prepare(data: Path, recipe: Recipe, seed: int) -> Lesson:
    every = read_rows(data / TRAIN, IN_FILES)
    rows, held_out = hold_out(every, recipe.held_out_rows, seed)
    targets = soft_targets(ngrams(rows.texts), rows.labels, recipe, seed)
    return Lesson(TOPICS, rows, targets, held_out)


@dataclass(frozen=True, slots=True)
class Score:
    """What the stored weights reach on the test split."""

    rows: int
    accuracy: float

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.4f} on {self.rows} rows"


def evaluate(folder: Path, data: Path) -> Score:
    """Score a stored checkpoint on the whole test split."""
    test = read_rows(data / TEST, IN_FILES)
    right = predict_stored(folder, test.texts) == np.array(TOPICS)[test.labels]
    return Score(len(test), float(right.mean()))


TARGETS: Final = """\
The target is the mean of the label and of a teacher's out-of-fold probabilities. The teacher is a
  logistic regression over words, pairs of words and 2 to 5 characters."""

CARD: Final = """\
# News topics

Says whether an English news article is of `World`, `Sports`, `Business` or `Sci/Tech`.

**For research and other non-commercial use only**, as the data that it was trained on: AG's news
corpus, whose readme names "research purposes [...] and any other non-commercial activity". The
articles belong to their publishers.

{shape}

| on the test split, stored weights | accuracy |
| --- | ---: |
| **this model**, {score.rows:,} rows | **{score.accuracy:.4f}** |
| baseline: TF-IDF, logistic regression | {baseline} |

{verdict} Training rows: {rows:,}; {held_out_rows:,} more were held out (accuracy {held_out:.4f}).
Training took {run}.

{training}
"""


def card_of(lesson: Lesson, trained: Trained, score: Score, run: Run) -> str:
    return CARD.format(
        shape=shape(trained.model, run.recipe),
        training=training(run.recipe, targets=TARGETS, text="article"),
        verdict=verdict(score.accuracy, BASELINE),
        baseline=BASELINE,
        rows=len(lesson.rows),
        held_out_rows=len(lesson.held_out),
        held_out=np.mean(trained.held_out == lesson.held_out.labels),
        score=score,
        run=run,
    )


TOML: Final = """\
task = "text-classification"
description = "Topics of English news: World, Sports, Business, Sci/Tech"
licence = "research and other non-commercial use only"
sample = "The striker scored twice in the second half as the home side won the cup final"
"""

TASK: Final = Task(
    about=__doc__.partition("\n")[0],
    files=(TRAIN, TEST),
    out=Path("build/news-topics"),
    recipe=RECIPE,
    prepare=prepare,
    evaluate=evaluate,
    card=card_of,
    alphabet=ALPHABET,
    toml=TOML,
)

if __name__ == "__main__":
    sys.exit(run(TASK))
