"""Read what the scripts say of a job as a :class:`~shared.contract.Record`. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from shared.codec import decode_layout, decode_outcomes
from shared.contract import JobId, Layout, ModelKey, Outcome, Record, State, Timings

_STATES: Final = {state.encode(): state for state in State}


class End(msgspec.Struct, frozen=True):
    """How a job has ended: what its record says now and did not when the job was accepted."""

    fields: dict[bytes, bytes]

    @property
    def submitted_us(self) -> int:
        """When the job was accepted: an id that was dropped and used again is another job."""
        return _number(self.fields, b"at")

    def of(self, record: Record) -> Record:
        """The record of that job at its end, from what it was at any time before.

        Raises:
            DecodeError: an outcome is not what this version of the codec writes
        """
        return replace(record, **_changing(self.fields, record.rows, record.timings))


def parse_record(job_id: JobId, flat: Sequence[bytes]) -> Record | None:
    """The record, or None where Redis knows no such job."""
    if not flat:
        return None
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    name, _, version = fields[b"model"].decode().rpartition("@")
    rows = _number(fields, b"rows")
    timings = Timings(admit=_number(fields, b"admit"), preprocess=_number(fields, b"prep"))
    return Record(
        id=job_id,
        model=ModelKey(name, version),
        rows=rows,
        top_k=int(fields.get(b"top", 1)),
        submitted_us=_number(fields, b"at"),
        deadline_us=_maybe(fields, b"due"),
        retention_ms=_number(fields, b"keep"),
        **_changing(fields, rows, timings),
    )


def _changing(fields: dict[bytes, bytes], rows: int, timings: Timings) -> dict[str, Any]:
    """What a record says of how far its job has come."""
    state = _STATES[fields[b"state"]]
    return {
        "state": state,
        "succeeded": _number(fields, b"good"),
        "failed": _number(fields, b"bad"),
        "expired": _number(fields, b"late"),
        "attempt": _number(fields, b"attempt"),
        "begun_us": _maybe(fields, b"begun"),
        "begun_again_us": _maybe(fields, b"again"),
        "completed_us": _maybe(fields, b"done"),
        "timings": Timings(
            admit=timings.admit,
            preprocess=timings.preprocess,
            preprocess_worker=_number(fields, b"raw"),
            batch=_number(fields, b"batch"),
            inference=_number(fields, b"infer"),
        ),
        "outcomes": _outcomes(fields, rows) if state.terminal else None,
    }


def _number(fields: dict[bytes, bytes], name: bytes) -> int:
    return int(fields.get(name, 0))


def _maybe(fields: dict[bytes, bytes], name: bytes) -> int | None:
    return int(fields[name]) if name in fields else None


def _outcomes(fields: dict[bytes, bytes], rows: int) -> tuple[Outcome | None, ...]:
    """Put the outcomes of chunks and of single rows back at their input's index."""
    if b"layout" in fields:
        layout = decode_layout(fields[b"layout"])
    elif b"0" in fields:
        return tuple(decode_outcomes(fields[b"0"]))
    else:
        layout = Layout(chunks=(tuple(range(rows)),))
    outcomes: list[Outcome | None] = [None] * rows
    for index, failure in layout.rejected:
        outcomes[index] = failure
    for chunk, inputs in enumerate(layout.chunks):
        whole = fields.get(b"%d" % chunk)
        if whole is not None:
            for index, outcome in zip(inputs, decode_outcomes(whole), strict=True):
                outcomes[index] = outcome
            continue
        for row, index in enumerate(inputs):
            single = fields.get(b"%d.%d" % (chunk, row))
            if single is not None:
                (outcomes[index],) = decode_outcomes(single)
    return tuple(outcomes)
