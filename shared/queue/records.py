"""Read the flat list that the scripts answer with as a :class:`~shared.contract.Record`."""

from collections.abc import Sequence

from shared.codec import decode_layout, decode_outcomes
from shared.contract import JobId, Layout, ModelKey, Outcome, Record, State, Timings


def parse_record(job_id: JobId, flat: Sequence[bytes]) -> Record | None:
    """The record, or None where Redis knows no such job."""
    if not flat:
        return None
    fields = dict(zip(flat[::2], flat[1::2], strict=True))

    def number(name: bytes) -> int:
        return int(fields.get(name, 0))

    def maybe(name: bytes) -> int | None:
        return int(fields[name]) if name in fields else None

    name, _, version = fields[b"model"].decode().rpartition("@")
    state = State(fields[b"state"].decode())
    rows = number(b"rows")
    return Record(
        id=job_id,
        state=state,
        model=ModelKey(name, version),
        rows=rows,
        succeeded=number(b"good"),
        failed=number(b"bad"),
        expired=number(b"late"),
        attempt=number(b"attempt"),
        top_k=int(fields.get(b"top", 1)),
        submitted_us=number(b"at"),
        begun_us=maybe(b"begun"),
        completed_us=maybe(b"done"),
        deadline_us=maybe(b"due"),
        retention_ms=number(b"keep"),
        timings=Timings(
            admit=number(b"admit"),
            preprocess=number(b"prep"),
            batch=number(b"batch"),
            inference=number(b"infer"),
        ),
        outcomes=_outcomes(fields, rows) if state.terminal else None,
    )


def _outcomes(fields: dict[bytes, bytes], rows: int) -> tuple[Outcome | None, ...]:
    """Put the outcomes of chunks and of single rows back at their input's index."""
    if b"layout" in fields:
        layout = decode_layout(fields[b"layout"])
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
