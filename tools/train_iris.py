"""Train the iris classifier and write it as ONNX, for the backend ``onnx``.

    python -m tools.train_iris [--out models/iris-svm/1]

The data comes with scikit-learn. The graph takes ``features`` and answers ``probabilities``; it
is read back, run and compared with scikit-learn.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx.utils import Extractor
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import Bunch

INPUT: Final = "features"
OUTPUT: Final = "probabilities"
TOLERANCE: Final = 1e-5

_OUT: Final = Path("models/iris-svm/1")
_FILE: Final = "model.onnx"
_NAME: Final = "iris-svm"  # a drawn name would make each file differ
_OPSET: Final = 18
_FOLDS: Final = 5
_SEED: Final = 0
_RANDOM_ROWS: Final = 1_000

Floats = NDArray[np.float64]


class NotExported(Exception):
    """The graph does not answer what the classifier does, and by how much."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, export, and say how good both are; the exit status says the second, too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of the version to write")
    file = parser.parse_args(arguments).out / _FILE
    iris = load_iris()
    evaluate(iris)
    fitted = classifier().fit(iris.data, iris.target)
    try:
        difference = export(fitted, iris.data, file)
    except NotExported as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{file}: {file.stat().st_size:,} bytes, off by {difference:.1e}")
    return 0


def classifier() -> Pipeline:
    """A calibrated SVM for each class, over standardised features."""
    # One SVC of all classes ranks them by votes: its probabilities would jump where a vote flips.
    one = CalibratedClassifierCV(SVC(), ensemble=False, cv=_folds())
    return Pipeline([("scale", StandardScaler()), ("classify", OneVsRestClassifier(one))])


def _folds() -> StratifiedKFold:
    return StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)


def evaluate(iris: Bunch) -> None:
    """Print the cross-validated accuracy, and what becomes of the rows of each class."""
    predicted = cross_val_predict(classifier(), iris.data, iris.target, cv=_folds())
    accuracy = np.mean(predicted == iris.target)
    print(f"accuracy {accuracy:.4f}, cross-validated in {_FOLDS} folds of {len(predicted)} rows")
    for name, counts in zip(
        iris.target_names, confusion_matrix(iris.target, predicted), strict=True
    ):
        print(f"{name:10} predicted as each class: {counts}")


def export(fitted: Pipeline, rows: Floats, file: Path) -> float:
    """Write the graph; its largest difference from scikit-learn's probabilities.

    Raises:
        NotExported: the difference is not below :data:`TOLERANCE`
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_convert(fitted, rows.shape[1]))
    probes = np.vstack([rows, _drawn(rows)])
    difference = float(np.abs(_run(file, probes) - fitted.predict_proba(probes)).max())
    if not difference < TOLERANCE:
        raise NotExported(f"{file} is off by {difference:.1e}: it is not the classifier")
    return difference


def _convert(fitted: Pipeline, width: int) -> bytes:
    with warnings.catch_warnings():
        # The converter asks each SVC for fields that scikit-learn is about to drop.
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_`", FutureWarning)
        graph = to_onnx(
            fitted,
            name=_NAME,
            initial_types=[(INPUT, FloatTensorType([None, width]))],
            options={id(fitted): {"zipmap": False}},
            target_opset=_OPSET,
        )
    alone = Extractor(graph).extract_model([INPUT], [OUTPUT])  # without the label
    serialized: bytes = alone.SerializeToString()
    return serialized


def _drawn(rows: Floats) -> Floats:
    """Rows that nobody measured, each feature within its range."""
    draw = np.random.default_rng(_SEED)
    return draw.uniform(rows.min(axis=0), rows.max(axis=0), (_RANDOM_ROWS, rows.shape[1]))


def _run(file: Path, rows: Floats) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    answer: NDArray[Any] = session.run([OUTPUT], {INPUT: rows.astype(np.float32)})[0]
    return answer


if __name__ == "__main__":
    sys.exit(main())
