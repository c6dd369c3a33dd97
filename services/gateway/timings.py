"""Where the time of a request went: seven stages that add up to the whole.

Pure. What happened in Redis and the predictor is told in Redis time; ``RedisClock`` says when
that was here.
"""

import msgspec

from services.gateway.schemas import TimingsMs
from shared.clock import RedisClock
from shared.contract import Record


class Marks(msgspec.Struct, frozen=True):
    """Moments of one request on this process's monotonic clock."""

    started_s: float
    admitted_s: float
    preprocessed_s: float


def of_call(record: Record, marks: Marks, clock: RedisClock, *, ended_s: float) -> TimingsMs:
    """Of a request and the job that it started, from its first byte to its answer."""
    whole_ms = (ended_s - marks.started_s) * 1e3
    admit_ms = (marks.admitted_s - marks.started_s) * 1e3
    preprocess_ms = (marks.preprocessed_s - marks.admitted_s) * 1e3
    left_ms = whole_ms - admit_ms - preprocess_ms
    completed_us = record.completed_us or record.submitted_us
    begun_us = record.last_begun_us or completed_us
    # Each stage is bounded by what is left, so that no error of the clock breaks the sum.
    worker_ms = _within(record.timings.preprocess_worker / 1e3, left_ms)
    left_ms -= worker_ms
    waited_ms = (clock.monotonic_s(begun_us) - marks.preprocessed_s) * 1e3 - worker_ms
    queue_ms = _within(waited_ms, left_ms)
    left_ms -= queue_ms
    batch_ms = _within(record.timings.batch / 1e3, left_ms)
    left_ms -= batch_ms
    inference_ms = _within(record.timings.inference / 1e3, left_ms)
    left_ms -= inference_ms
    settle_ms = _within((completed_us - begun_us) / 1e3 - batch_ms - inference_ms, left_ms)
    return TimingsMs(
        admit=round(admit_ms, 3),
        preprocess=round(preprocess_ms + worker_ms, 3),
        queue=round(queue_ms, 3),
        batch=round(batch_ms, 3),
        inference=round(inference_ms, 3),
        settle=round(settle_ms, 3),
        reply=round(left_ms - settle_ms, 3),
    )


def of_job(record: Record) -> TimingsMs:
    """Of a job by itself, as far as it has come; nobody knows when it is read."""
    spent = record.timings
    end_us = record.completed_us or record.last_begun_us or record.submitted_us
    begun_us = record.last_begun_us or end_us
    settle_us = end_us - begun_us - spent.batch - spent.inference
    return TimingsMs(
        admit=spent.admit / 1e3,
        preprocess=(spent.preprocess + spent.preprocess_worker) / 1e3,
        queue=max(begun_us - record.submitted_us - spent.preprocess_worker, 0) / 1e3,
        batch=spent.batch / 1e3,
        inference=spent.inference / 1e3,
        settle=max(settle_us, 0) / 1e3,
    )


def server_timing(timings: TimingsMs) -> bytes:
    """For the header ``Server-Timing``."""
    return (
        f"admit;dur={timings.admit}, preprocess;dur={timings.preprocess}, "
        f"queue;dur={timings.queue}, batch;dur={timings.batch}, "
        f"inference;dur={timings.inference}, settle;dur={timings.settle}"
        + (f", reply;dur={timings.reply}" if timings.reply is not msgspec.UNSET else "")
    ).encode()


def _within(part: float, whole: float) -> float:
    return min(max(part, 0.0), whole)
