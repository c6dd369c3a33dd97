"""The device's own limits: the same rows with no server around them, each way in each type.

One process with all cores, everything tokenized beforehand, for MiniLM-L6's shape and for the
shipped model. ``plain`` is transformers as it comes; the rest is the predictor's own backend.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import models
from bench.inprocess import Spec, Told, run_inprocess
from bench.plan import Figures, Measured, Plan, medians
from bench.table import table
from bench.texts import texts

_SEED: Final = 3
_ROWS: Final = {models.MINILM: 1_000, models.SHIPPED: 4_000}
_BATCH_TOKENS: Final = 1_024
_MANY: Final = 1 << 30
_LIMIT: Final = "plain, sorted and padded"
"""What the others are compared with: the best that padding can do."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the rows are brought to the device."""

    name: str
    plain: bool = False
    pack: bool = False
    sort: bool = True
    most_rows: int = _MANY
    batch_tokens: int = _BATCH_TOKENS
    dtype: str = "float32"
    onnx: bool = False


WAYS: Final = (
    Way("plain, one at a time", plain=True, sort=False, most_rows=1),
    Way("plain, 32 in order", plain=True, sort=False, most_rows=32, batch_tokens=_MANY),
    Way(_LIMIT, plain=True),
    Way("ours, sorted and padded"),
    Way("ours, packed", pack=True, sort=False),
    Way("ours, packed, bfloat16", pack=True, sort=False, dtype="bfloat16"),
    Way("ours, packed, int8", pack=True, sort=False, dtype="int8"),
    Way("ours, ONNX Runtime, sorted and padded", onnx=True),
    Way("ours, ONNX Runtime, sorted and padded, int8", onnx=True, dtype="int8"),
)


def measure(plan: Plan) -> Measured:
    """Medians of several runs, the ways one after the other in each of them."""
    runs: list[Figures] = []
    parts, summary = [], Figures()
    for model, count in _ROWS.items():
        if plan.smoke and model != models.SHIPPED:
            continue
        of_model = _runs_of(model, plan, rows=plan.size(count, 100))
        rows = [medians([run for run in of_model if run["way"] == way.name]) for way in WAYS]
        (limit,) = (float(row["per_s"]) for row in rows if row["way"] == _LIMIT)
        for row in rows:
            row["to_the_limit"] = round(float(row["per_s"]) / limit, 3)
            summary[f"{model}: {row['way']}"] = row["to_the_limit"]
        shown = [{name: row[name] for name in row if name != "model"} for row in rows]
        parts += [f"{model}:", "", table(shown), ""]
        runs += of_model
    return Measured(runs=runs, summary=summary, text="\n".join(parts))


def _runs_of(model: str, plan: Plan, *, rows: int) -> list[Figures]:
    models.repository(plan.cache)
    asked = texts(models.tokenizer_of(model, plan.cache), rows, seed=_SEED)
    runs = []
    for _ in range(plan.runs):
        runs += [_figures(model, way, _run(model, way, asked, plan)) for way in WAYS]
    return runs


def _run(model: str, way: Way, asked: Sequence[str], plan: Plan) -> Told:
    return run_inprocess(
        Spec(
            cache=str(plan.cache),
            model=models.exported(model, plan.cache) if way.onnx else model,
            texts=list(asked),
            alone=False,
            batch_tokens=[way.batch_tokens],
            pack=way.pack,
            plain=way.plain,
            sort=way.sort,
            most_rows=way.most_rows,
            dtype=way.dtype,
        )
    )


def _figures(model: str, way: Way, told: Told) -> Figures:
    (one,) = told.passes
    rows, tokens = len(told.tokens), sum(told.tokens)
    return {
        "model": model,
        "way": way.name,
        "per_s": round(rows / one.seconds, 1),
        "cpu_us": round(one.cpu_s * 1e6 / rows),
        "mean_batch": round(rows / one.batches, 1),
        "padding": round(1 - tokens / one.padded_tokens, 3),
    }
