"""What both ends of the queue must agree on, as values.

Pure: no I/O, no clock. Everything here is frozen; what travels is written and read by
:mod:`shared.codec` alone.
"""

from enum import StrEnum
from typing import Any, Final, NewType, Self

import msgspec

from shared.errors import ServiceError

JobId = NewType("JobId", str)
EntryId = NewType("EntryId", str)
GatewayId = NewType("GatewayId", str)
WorkerName = NewType("WorkerName", str)
Tenant = NewType("Tenant", str)

ONLY_TENANT: Final = Tenant("default")
"""The one tenant until callers have keys; everything already asks for a tenant."""

DEADLINE_LIMIT_MS: Final = 7 * 24 * 3_600_000
"""A job may be asked to be begun within a week at most."""

_BYTES_PER_TOKEN: Final = 32


def weight(size_bytes: int) -> int:
    """What an input without tokens counts as: then the queue's limit bounds memory for it, too."""
    return max(1, -(-size_bytes // _BYTES_PER_TOKEN))


class Lane(StrEnum):
    """Which stream of a model a chunk waits in."""

    INTERACTIVE = "interactive"
    LARGE = "large"
    """Interactive work of more than one forward: it gives way to smaller work, not to bulk."""
    BULK = "bulk"
    RAW = "raw"
    """Before preprocessing, and small: only models with a preprocess worker have the raw lanes."""
    RAW_LARGE = "raw-large"
    RAW_BULK = "raw-bulk"


PREDICTED: Final = (Lane.INTERACTIVE, Lane.LARGE, Lane.BULK)
"""The lanes that predictors read."""
UNENCODED: Final = (Lane.RAW, Lane.RAW_LARGE, Lane.RAW_BULK)
"""The lanes that preprocess workers read."""


class State(StrEnum):
    """Where a job stands; the last four are terminal and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """True once the outcome of every row is settled for good."""
        return self not in (State.QUEUED, State.RUNNING)


class ModelKey(msgspec.Struct, frozen=True):
    """One version of one model; ``str()`` of it is its name in keys."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One named tensor of every row in a chunk, the rows laid end to end.

    Row ``i`` has shape ``(lengths[i], *inner)``; ``values`` is little-endian, C order.
    """

    name: str
    dtype: str
    """A NumPy type string with its byte order: ``<i4``, ``<f4``, ``|u1``, …; or ``msgpack``: one
    MessagePack value for each row, ``lengths`` being its bytes."""
    lengths: tuple[int, ...]
    inner: tuple[int, ...]
    values: bytes


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """The tensors of a chunk: every column has the same number of rows."""

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0].lengths)


class RawInput(msgspec.Struct, frozen=True, array_like=True):
    """One input on its way to a preprocess worker, and what becomes of it there."""

    lane: Lane
    """Where its tensors wait."""
    truncate: bool
    given: Any
    """As the model's codec reads it."""


PROBABILITIES: Final = "probabilities"
"""The name of a classifier's output that holds scores already, whatever its scoring: no logits."""


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """One output tensor of one row; ``values`` is little-endian, C order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: bytes


class Success(msgspec.Struct, frozen=True, array_like=True, tag="ok"):
    """What the model answered for one row."""

    tensors: tuple[Tensor, ...]


class Failure(msgspec.Struct, frozen=True, array_like=True, tag="error"):
    """Why one row has no answer: a stable code and a sentence."""

    code: str
    detail: str

    @classmethod
    def of(cls, error: ServiceError) -> Self:
        """What crosses the queue of an error."""
        return cls(code=error.code, detail=error.detail)


Outcome = Success | Failure


class Chunk(msgspec.Struct, frozen=True):
    """Rows of one job that travel together; no larger than one micro-batch."""

    rows: int
    tokens: int
    """What the rows cost the queue: their tokens, summed."""
    longest: int
    payload: bytes
    """The rows, as :func:`shared.codec.encode_rows` wrote them (raw input in the raw lanes)."""


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """Where each input of a job went."""

    chunks: tuple[tuple[int, ...], ...]
    """By chunk, the input index of each of its rows."""
    rejected: tuple[tuple[int, Failure], ...] = ()
    """Inputs that could not be encoded: they have their outcome before the job is queued."""


class Job(msgspec.Struct, frozen=True):
    """A job as the gateway submits it."""

    id: JobId
    model: ModelKey
    fingerprint: bytes
    """16 bytes; two submissions under one id are the same job when these agree."""
    lane: Lane
    tenant: Tenant
    chunks: tuple[Chunk, ...]
    layout: Layout | None = None
    """None where the rows are one chunk in input order and nothing was rejected."""
    top_k: int = 1
    deadline_ms: int | None = None
    """From acceptance; bounds the begin."""
    in_time_tokens: int | None = None
    """What should be computed by its deadline, of all that is before it; None: not known."""
    admit_us: int = 0
    preprocess_us: int = 0
    trace: str = ""
    """W3C ``traceparent``, when the caller sent one."""

    @property
    def rejected(self) -> int:
        """Inputs that have failed already."""
        return len(self.layout.rejected) if self.layout else 0

    @property
    def rows(self) -> int:
        """Inputs in the whole job, rejected ones included."""
        return sum(chunk.rows for chunk in self.chunks) + self.rejected

    @property
    def tokens(self) -> int:
        """Tokens of the whole job."""
        return sum(chunk.tokens for chunk in self.chunks)


class Delivery(msgspec.Struct, frozen=True):
    """A chunk as one worker holds it: leased, not yet acknowledged."""

    entry: EntryId
    """Its own in all lanes of the model: Redis numbers each stream alone, so the lane is in it."""
    lane: Lane
    job: JobId
    chunk: int
    rows: int
    tokens: int
    longest: int
    tenant: Tenant
    payload: bytes
    inline: bool = False
    """The payload is in the entry, and has no key of its own."""
    trace: str = ""
    submitted_us: int = 0
    """Of its job, on the Redis clock: an id that was dropped and used again is another job."""


class Figures(msgspec.Struct, frozen=True):
    """What a worker has done since it last spoke, for people."""

    rows_per_s: float = 0.0
    forward_ms: float = 0.0
    """Of one forward, or of one encoding, on the average."""
    batch_rows: float = 0.0
    """Rows of a forward, on the average."""
    padding: float = 0.0
    """Share of what was computed that is padding."""
    busy: float = 0.0
    """Share of the time."""
    revision: int = 0
    """Of the catalogue, that its process has followed."""


class Timings(msgspec.Struct, frozen=True):
    """Microseconds that a job spent; ``batch`` and ``inference`` are the last chunk's."""

    admit: int = 0
    preprocess: int = 0
    """Before it was queued."""
    preprocess_worker: int = 0
    """After that, by a preprocess worker: of the chunk that took longest."""
    batch: int = 0
    inference: int = 0


class Record(msgspec.Struct, frozen=True):
    """What Redis knows about a job. Times are microseconds of the Redis clock."""

    id: JobId
    state: State
    model: ModelKey
    rows: int
    succeeded: int
    failed: int
    expired: int
    attempt: int
    top_k: int
    submitted_us: int
    begun_us: int | None
    completed_us: int | None
    deadline_us: int | None
    retention_ms: int
    timings: Timings
    outcomes: tuple[Outcome | None, ...] | None = None
    """By input index, ``None`` where a row has no outcome; absent unless the job is terminal."""
    begun_again_us: int | None = None
    """When a chunk of it was begun last, for another attempt or after the first chunk."""

    @property
    def last_begun_us(self) -> int | None:
        """When the work that ended the job was begun: what went before it was waiting."""
        return self.begun_again_us or self.begun_us
