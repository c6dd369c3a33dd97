"""The bodies and answers of the native API, as the outside sees them.

Their JSON schemas are what ``/openapi.json`` says; knows nothing of HTTP or of the queue.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from shared.contract import DEADLINE_LIMIT_MS, State

TOP_K_LIMIT: Final = 1_000

JobId = Annotated[str, Meta(description="of the job: `/jobs/{id}` answers it")]
ModelName = Annotated[str, Meta(description="name of the model")]
ModelVersion = Annotated[str, Meta(description="of the model")]
Task = Annotated[str, Meta(description="what kind of model it is")]
Outputs = Annotated[
    list[dict[str, Any]], Meta(description="by input: what the model's `output` says, or `error`")
]
Gateways = Annotated[
    dict[str, int], Meta(description="the revision of the catalogue that each has followed")
]


class Parameters(Struct, frozen=True, forbid_unknown_fields=True):
    """How inputs are read and answers are given."""

    top_k: Annotated[int, Meta(ge=1, le=TOP_K_LIMIT, description="labels in `top`")] = 1
    truncate: Annotated[bool, Meta(description="cut what is too long, instead of refusing it")] = (
        False
    )


class PredictBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What to predict; `data` is another name for `inputs`."""

    inputs: Annotated[
        Raw | UnsetType, Meta(description="one input of the model, or a list of them")
    ] = UNSET
    data: Annotated[Raw | UnsetType, Meta(description="another name for `inputs`")] = UNSET
    model: Annotated[
        str | None, Meta(description="its name, where the path has none; else the default one")
    ] = None
    version: Annotated[
        str | None, Meta(description="where the path has none; else the default one")
    ] = None
    parameters: Annotated[Parameters, Meta(description="how to read and to answer")] = Parameters()
    deadline_ms: Annotated[
        Annotated[int, Meta(ge=1, le=DEADLINE_LIMIT_MS)] | None,
        Meta(description="from now; what is not begun by then expires"),
    ] = None
    lane: Annotated[
        Literal["interactive", "bulk"] | None,
        Meta(description="`interactive` goes first; where nothing is said, `/jobs` is `bulk`"),
    ] = None


class Counts(Struct, frozen=True):
    """Rows of a job; `failed` has the expired and the canceled ones, too."""

    total: Annotated[int, Meta(description="one for each input")]
    succeeded: Annotated[int, Meta(description="with a result")]
    failed: Annotated[int, Meta(description="with an error instead")]


class TimingsMs(Struct, frozen=True):
    """Milliseconds by stage; they add up to the whole. A record has no `reply`."""

    admit: Annotated[float, Meta(description="read the request, decide whether there is room")]
    preprocess: Annotated[float, Meta(description="from inputs to tensors, wherever that is done")]
    queue: Annotated[float, Meta(description="until a predictor begins")]
    batch: Annotated[float, Meta(description="until the forward begins")]
    inference: Annotated[float, Meta(description="the forward")]
    settle: Annotated[float, Meta(description="until the results are recorded")]
    reply: Annotated[float | UnsetType, Meta(description="until the answer is written")] = UNSET


class Prediction(Struct, frozen=True):
    """The answer of a synchronous request: `outputs[i]` belongs to input i."""

    id: JobId
    model: ModelName
    version: ModelVersion
    outputs: Outputs
    counts: Annotated[Counts, Meta(description="how many rows have a result")]
    timings_ms: Annotated[TimingsMs, Meta(description="where the time went")]


class JobRecord(Struct, frozen=True):
    """Where a job stands; `outputs` once it has ended."""

    id: JobId
    state: Annotated[State, Meta(description="of the job as a whole")]
    model: ModelName
    version: ModelVersion
    counts: Annotated[Counts, Meta(description="how many rows have ended so far")]
    created_at: Annotated[datetime, Meta(description="accepted")]
    started_at: Annotated[datetime | None, Meta(description="first begun by a predictor")]
    completed_at: Annotated[datetime | None, Meta(description="ended")]
    deadline_at: Annotated[datetime | None, Meta(description="nothing is begun later")]
    retained_until: Annotated[
        datetime | None,
        Meta(
            description="this record can be read; null before the end, and earlier once the "
            "answer of a synchronous request without an Idempotency-Key went out"
        ),
    ]
    attempt: Annotated[
        int, Meta(description="of its rows: 1, or more after a predictor died; 0 before")
    ]
    timings_ms: Annotated[TimingsMs, Meta(description="where the time went so far")]
    outputs: Outputs | UnsetType = UNSET


class ProblemBody(Struct, frozen=True):
    """RFC 9457: `code` is stable, `detail` has the value, the limit and the remedy."""

    type: Annotated[str, Meta(description="`urn:penstock:problem:` and the code, or `about:blank`")]
    title: Annotated[str, Meta(description="the kind of problem, for people")]
    status: Annotated[int, Meta(description="the same as the response's")]
    detail: Annotated[str, Meta(description="this problem, for people")]
    instance: Annotated[str, Meta(description="the path of the request")]
    code: Annotated[str, Meta(description="the kind of problem, for programs")]
    job: Annotated[
        str | UnsetType, Meta(description="id of the job that failed, where there is one")
    ] = UNSET


class Limits(Struct, frozen=True, omit_defaults=True):
    """What one request may carry; of tokens and pixels, what one input may have."""

    max_inputs: Annotated[int, Meta(description="inputs in a request")]
    max_tokens: Annotated[int | None, Meta(description="of a text")] = None
    max_characters: Annotated[int | None, Meta(description="of a text")] = None
    max_pixels: Annotated[int | None, Meta(description="of a picture, before it is scaled")] = None


class ModelInfo(Struct, frozen=True):
    """One model: `version` is the default one of `versions`."""

    name: ModelName
    version: ModelVersion
    versions: Annotated[list[str], Meta(description="that can be asked for")]
    task: Task
    description: Annotated[str, Meta(description="what it is, for people")]
    licence: Annotated[str, Meta(description="of its weights; empty where the model says none")]
    labels: Annotated[list[str], Meta(description="in the order of the model's outputs")]
    scoring: Annotated[str, Meta(description="how scores are made of the model's outputs")]
    threshold: Annotated[
        float | None,
        Meta(description="a label is in `labels` when its score is over it; null: one is right"),
    ]
    limits: Annotated[Limits, Meta(description="what is refused beyond")]
    features: Annotated[list[str], Meta(description="of a table, in the order of a row's values")]
    missing: Annotated[list[str], Meta(description="those of them that may be null, or left out")]
    input: Annotated[str, Meta(description="what `inputs` takes, in words")]
    output: Annotated[str, Meta(description="what a row's output has, in words")]
    sample: Annotated[Any, Meta(description="an input to try; `/models/{name}/test` predicts it")]


class ModelList(Struct, frozen=True):
    """The models that can be asked for, and which is meant when none is named."""

    default: Annotated[str, Meta(description="name of the one that is meant when none is named")]
    models: Annotated[list[ModelInfo], Meta(description="each by its default version")]


class Labels(Struct, frozen=True):
    """Labels in the order of the model's outputs."""

    model: ModelName
    version: ModelVersion
    labels: Annotated[list[str], Meta(description="in the order of the model's outputs")]


class Health(Struct, frozen=True):
    """What a probe reads."""

    status: Annotated[str, Meta(description="`alive`")]


Warnings = Annotated[
    tuple[str, ...], Meta(description="what is set up so that jobs may be lost, and what to change")
]


class Readiness(Struct, frozen=True):
    """Ready; with `?verbose` also what this gateway sees of itself and the others."""

    status: Annotated[str, Meta(description="`ready`")]
    pid: Annotated[int | UnsetType, Meta(description="of this gateway's process")] = UNSET
    uptime_s: Annotated[float | UnsetType, Meta(description="since this gateway started")] = UNSET
    requests: Annotated[int | UnsetType, Meta(description="open in this gateway")] = UNSET
    predictors: Annotated[
        dict[str, int] | UnsetType, Meta(description="alive, by `model@version`")
    ] = UNSET
    warnings: Warnings | UnsetType = UNSET


class QueueStatus(Struct, frozen=True):
    """What waits for a version, begun and not yet settled included."""

    jobs: Annotated[int, Meta(description="with a row that has not ended")]
    tokens: Annotated[int, Meta(description="of their rows; what has none counts by its bytes")]
    oldest_s: Annotated[float, Meta(description="since the oldest was accepted")]


class VersionStatus(Struct, frozen=True):
    """One version of one model: its queue, and how many serve it."""

    model: ModelName
    version: ModelVersion
    default: Annotated[bool, Meta(description="it is the model's default version")]
    weight: Annotated[
        int | None,
        Meta(description="part of the traffic that names no version; null: it is not split"),
    ]
    task: Task
    queue: Annotated[QueueStatus, Meta(description="what waits for it")]
    predictors: Annotated[int, Meta(description="alive that serve it")]
    preprocessors: Annotated[
        int | None, Meta(description="alive that preprocess for it; null where the gateway does")
    ]


class WorkerStatus(Struct, frozen=True):
    """One model in one process, and what it has done within the last second."""

    worker: Annotated[str, Meta(description="name of its process, new at each start, and a number")]
    model: Annotated[str, Meta(description="as `model@version`")]
    rows_per_s: Annotated[float, Meta(description="rows done")]
    ms: Annotated[
        float,
        Meta(description="of a forward or, of a preprocess worker, an encoding, on the average"),
    ]
    batch_rows: Annotated[float, Meta(description="rows of a forward, on the average")]
    padding: Annotated[float, Meta(description="share of what was computed that is padding")]
    busy: Annotated[float, Meta(description="share of the time")]
    revision: Annotated[int, Meta(description="of the catalogue, that it has followed")]
    tokens_per_s: Annotated[float, Meta(description="what it can do in full batches")]
    seen_s: Annotated[float, Meta(description="since it last said so")]


class Status(Struct, frozen=True):
    """Everything at a glance."""

    version: Annotated[str, Meta(description="of Penstock")]
    uptime_s: Annotated[float, Meta(description="since this gateway started")]
    requests: Annotated[int, Meta(description="open in this gateway, this one included")]
    revision: Annotated[int, Meta(description="of the catalogue, that this gateway has followed")]
    gateways: Gateways
    warnings: Warnings
    versions: Annotated[list[VersionStatus], Meta(description="of every model")]
    refused: Annotated[
        dict[str, str],
        Meta(description="by `model` or `model@version`: why it cannot be loaded"),
    ]
    predictors: Annotated[list[WorkerStatus], Meta(description="alive, one for each model")]
    preprocessors: Annotated[list[WorkerStatus], Meta(description="alive, one for each model")]


class HealthWord(Struct, frozen=True):
    """What a single-model web service says."""

    health: Annotated[str, Meta(description="`ok`")]


class LabelAnswer(Struct, frozen=True):
    """The likeliest label, or one for each of several inputs; null where one failed."""

    prediction: Annotated[str | list[str | None] | None, Meta(description="a label, or a list")]


class ServingWish(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be of a model; `revision`, where it is given, is the one that you have seen."""

    versions: Annotated[list[str], Meta(description="those that are served; none unloads it")]
    default: Annotated[
        str | None, Meta(description="of the versions; else the model's own word, or the highest")
    ] = None
    weights: Annotated[
        dict[str, Annotated[int, Meta(ge=0, le=1_000_000)]],
        Meta(description="parts of the traffic that names no version; empty: all to the default"),
    ] = {}
    revision: Annotated[
        int | None, Meta(description="refused (409) where it is another one by now")
    ] = None


class ServingStatus(Struct, frozen=True):
    """What is wanted of a model, and who has come so far."""

    model: ModelName
    versions: Annotated[list[str], Meta(description="that are to be served")]
    default: Annotated[str | None, Meta(description="which is meant where none is named")]
    weights: Annotated[
        dict[str, int], Meta(description="parts of the traffic that names no version")
    ]
    revision: Annotated[int, Meta(description="how often the catalogue has been changed")]
    known: Annotated[list[str], Meta(description="versions that lie in this gateway's repository")]
    predictors: Annotated[dict[str, int], Meta(description="how many serve each version now")]
    refused: Annotated[
        dict[str, str],
        Meta(description="by version, or `` for all of them: why it cannot be loaded"),
    ]
    gateways: Gateways
