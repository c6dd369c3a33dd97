"""Soft targets: what a linear model of n-grams thinks of each row that it never saw."""

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tools.log import log
from tools.small_bert.recipe import Recipe
from tools.small_bert.rows import Floats, Ints

Sparse: TypeAlias = Any  # a scipy matrix [N, n-grams], float32
Weigh: TypeAlias = Callable[[Sparse, Ints], Floats]  # of the rows seen: a weight for each n-gram


def soft_targets(
    features: Sparse, labels: Ints, recipe: Recipe, seed: int, weigh: Weigh | None = None
) -> Floats:
    """Probabilities to be learnt, [N, labels]: the label's, drawn towards the teacher's."""
    taught = teach(features, labels, recipe, seed, weigh)
    accuracy = np.mean(taught.argmax(axis=1) == labels)
    log(f"teacher: accuracy {accuracy:.4f} on unseen folds")
    hard = np.eye(taught.shape[1], dtype=np.float32)[labels]
    return hard + np.float32(recipe.teacher_share) * (taught - hard)


def teach(
    features: Sparse, labels: Ints, recipe: Recipe, seed: int, weigh: Weigh | None = None
) -> Floats:
    """Probabilities [N, labels], each row's by a regression fitted on the other folds."""
    fold_of = np.random.default_rng(seed).integers(recipe.folds, size=len(labels))
    taught = np.zeros((len(labels), labels.max() + 1), dtype=np.float32)
    for fold in range(recipe.folds):
        seen = fold_of != fold
        weighted = features
        if weigh is not None:
            weighted = features.multiply(weigh(features[seen], labels[seen])).tocsr()
        regression = LogisticRegression(C=recipe.teacher_c, max_iter=recipe.teacher_steps)
        with warnings.catch_warnings():  # as many steps are enough for a teacher
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(weighted[seen], labels[seen])
        probabilities = regression.predict_proba(weighted[~seen])
        taught[np.ix_(~seen, regression.classes_)] = probabilities
    return taught
