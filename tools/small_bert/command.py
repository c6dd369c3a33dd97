"""The command line of a classifier: train it and store it, or score what is stored."""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

from tools.log import log
from tools.small_bert.card import Run
from tools.small_bert.checkpoint import store
from tools.small_bert.recipe import Recipe
from tools.small_bert.training import Lesson, Trained, train

Score = TypeVar("Score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[Score]):
    """One classifier: its data, its recipe, and what is said of it."""

    about: str
    files: Sequence[str]
    """What the folder of the data holds."""
    out: Path
    recipe: Recipe
    prepare: Callable[[Path, Recipe, int], Lesson]
    """From the folder of the data, a recipe and a seed."""
    evaluate: Callable[[Path, Path], Score]
    """Of the checkpoint in the first folder, on the test split in the second."""
    card: Callable[[Lesson, Trained, Score, Run], str]
    finish: Callable[[Lesson, Trained], Trained] | None = None
    """What is done to the trained model at last."""
    alphabet: Sequence[str] = ()
    toml: str = ""  # ``model.toml``, where the checkpoint is a model by itself
    threads: int = 1  # sums in another order give other weights


def run(task: Task[Score], argv: Sequence[str] | None = None) -> int:
    """Train unless asked not to; say what the stored weights reach."""
    arguments = _parse(task, argv)
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate:
        log(f"test: {task.evaluate(arguments.out, arguments.data)}")
    else:
        _train_and_store(task, arguments)
    return 0


def _parse(task: Task[Score], argv: Sequence[str] | None) -> argparse.Namespace:
    """Exits with status 2 where ``--data`` is missing or lacks one of the files."""
    wanted = f"the folder that holds {' and '.join(task.files)}"

    def folder(given: str) -> Path:
        missing = [name for name in task.files if not given or not (Path(given) / name).is_file()]
        if missing:
            raise argparse.ArgumentTypeError(
                f"{given!r} has no {' and no '.join(missing)}: name {wanted}"
            )
        return Path(given)

    parser = argparse.ArgumentParser(description=task.about)
    parser.add_argument("--data", type=folder, required=True, help=wanted)
    parser.add_argument("--out", type=Path, default=task.out, help="the checkpoint's folder")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=task.threads)
    parser.add_argument("--evaluate", action="store_true", help="only score the stored checkpoint")
    return parser.parse_args(argv)


def _train_and_store(task: Task[Score], arguments: argparse.Namespace) -> None:
    """Put the new folder in the old one's place once it is complete, its card included."""
    recipe, folder = task.recipe, arguments.out
    lesson = task.prepare(arguments.data, recipe, arguments.seed)
    staged = folder.with_name(folder.name + ".new")
    staged.mkdir(parents=True, exist_ok=True)
    for number, trained in enumerate(train(lesson, recipe, arguments.seed, task.alphabet), start=1):
        store(trained, staged)  # an interrupted run leaves its latest epoch there
        accuracy = np.mean(trained.held_out == lesson.held_out.labels)
        log(
            f"epoch {number}/{recipe.epochs}: loss {trained.loss:.4f}, "
            f"held-out accuracy {accuracy:.4f}"
        )
    if task.finish is not None:
        trained = task.finish(lesson, trained)
        store(trained, staged)
    done = Run(recipe, arguments.seed, arguments.threads, time.process_time() / 60)
    score = task.evaluate(staged, arguments.data)
    log(f"test: {score}; {done}")
    (staged / "README.md").write_text(task.card(lesson, trained, score, done), encoding="utf-8")
    if task.toml:
        (staged / "model.toml").write_text(task.toml, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
