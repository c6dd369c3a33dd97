"""The bodies and answers of the native API, as the outside sees them.

Their JSON schemas are what ``/openapi.json`` says; knows nothing of HTTP or of the queue.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from shared.contract import State

TOP_K_LIMIT: Final = 1_000
DEADLINE_LIMIT_MS: Final = 7 * 24 * 3_600_000

DeadlineMs = Annotated[
    int,
    Meta(ge=1, le=DEADLINE_LIMIT_MS, description="nothing is computed later than this after it"),
]


class Parameters(Struct, frozen=True, forbid_unknown_fields=True):
    """How inputs are read and answers are given."""

    top_k: Annotated[int, Meta(ge=1, le=TOP_K_LIMIT, description="labels in `top`")] = 1
    truncate: Annotated[bool, Meta(description="cut what is too long, instead of refusing it")] = (
        False
    )


class PredictBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What to predict; `data` is another name for `inputs`."""

    inputs: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    model: str | None = None
    version: str | None = None
    parameters: Parameters = Parameters()
    deadline_ms: DeadlineMs | None = None
    lane: Literal["interactive", "bulk"] | None = None


class Counts(Struct, frozen=True):
    """Rows of a job; `failed` has the expired and the canceled ones, too."""

    total: int
    succeeded: int
    failed: int


class TimingsMs(Struct, frozen=True):
    """Milliseconds by stage; they add up to the whole. A record has no `reply`."""

    admit: float
    preprocess: float
    queue: float
    batch: float
    inference: float
    settle: float
    reply: float | UnsetType = UNSET


class Prediction(Struct, frozen=True):
    """The answer of a synchronous request: `outputs[i]` belongs to input i."""

    id: str
    model: str
    version: str
    outputs: list[dict[str, Any]]
    counts: Counts
    timings_ms: TimingsMs


class JobRecord(Struct, frozen=True):
    """Where a job stands; `outputs` once it has ended."""

    id: str
    state: State
    model: str
    version: str
    counts: Counts
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deadline_at: datetime | None
    retained_until: datetime | None
    attempt: int
    timings_ms: TimingsMs
    outputs: list[dict[str, Any]] | UnsetType = UNSET


class ProblemBody(Struct, frozen=True):
    """RFC 9457: `code` is stable, `detail` has the value, the limit and the remedy."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    job: str | UnsetType = UNSET


class Limits(Struct, frozen=True, omit_defaults=True):
    """What one request may carry; of tokens and pixels, what one input may have."""

    max_inputs: int
    max_tokens: int | None = None
    max_characters: int | None = None
    max_pixels: int | None = None


class ModelInfo(Struct, frozen=True):
    """One model: `version` is the default one of `versions`."""

    name: str
    version: str
    versions: list[str]
    task: str
    description: str
    licence: str
    labels: list[str]
    scoring: str
    limits: Limits
    features: list[str]
    """Of a table, in the order of a row's values."""
    input: str
    output: str
    sample: Any


class ModelList(Struct, frozen=True):
    """The models that can be asked for, and which is meant when none is named."""

    default: str
    models: list[ModelInfo]


class Labels(Struct, frozen=True):
    """Labels in the order of the model's outputs."""

    model: str
    version: str
    labels: list[str]


class Health(Struct, frozen=True):
    """What a probe reads."""

    status: str


class Readiness(Struct, frozen=True):
    """Ready; with `?verbose` also what this gateway sees of itself and the others."""

    status: str
    pid: int | UnsetType = UNSET
    uptime_s: float | UnsetType = UNSET
    requests: int | UnsetType = UNSET
    predictors: dict[str, int] | UnsetType = UNSET


class QueueStatus(Struct, frozen=True):
    """What waits for a version, begun and not yet settled included."""

    jobs: int
    tokens: int
    oldest_s: float


class VersionStatus(Struct, frozen=True):
    """One version of one model: its queue, and how many serve it."""

    model: str
    version: str
    default: bool
    weight: int | None
    """Its part of the traffic that names no version; None where that is not split."""
    task: str
    queue: QueueStatus
    predictors: int
    preprocessors: int | None
    """None where inputs are preprocessed in the gateway."""


class WorkerStatus(Struct, frozen=True):
    """One model in one process, and what it has done within the last second."""

    worker: str
    model: str
    rows_per_s: float
    ms: float
    """Of a forward or, of a preprocess worker, an encoding, on the average."""
    batch_rows: float
    padding: float
    busy: float
    revision: int
    """Of the catalogue, that it has followed."""
    tokens_per_s: float
    """What it can do in full batches."""
    seen_s: float


class Status(Struct, frozen=True):
    """Everything at a glance."""

    version: str
    uptime_s: float
    requests: int
    revision: int
    """Of the catalogue, that this gateway has followed."""
    gateways: dict[str, int]
    """The revision that each of them has followed."""
    versions: list[VersionStatus]
    predictors: list[WorkerStatus]
    preprocessors: list[WorkerStatus]


class HealthWord(Struct, frozen=True):
    """What a single-model web service says."""

    health: str


class LabelAnswer(Struct, frozen=True):
    """The likeliest label, or one for each of several inputs; null where one failed."""

    prediction: str | list[str | None] | None


class Serving(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be of a model; `revision`, where it is given, is the one that you have seen."""

    versions: Annotated[list[str], Meta(description="those that are served; none unloads it")]
    default: str | None = None
    weights: Annotated[
        dict[str, Annotated[int, Meta(ge=0, le=1_000_000)]],
        Meta(description="parts of the traffic that names no version; empty: all to the default"),
    ] = {}
    revision: int | None = None


class ServingStatus(Struct, frozen=True):
    """What is wanted of a model, and who has come so far."""

    model: str
    versions: list[str]
    default: str | None
    weights: dict[str, int]
    revision: int
    known: list[str]
    """Versions that lie in this gateway's repository."""
    predictors: dict[str, int]
    """How many serve each version now."""
    gateways: dict[str, int]
    """The revision that each gateway has followed."""
