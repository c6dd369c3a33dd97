"""A million queued one-line jobs: Redis memory for each, and whether submitting gets slower.

No predictor runs, so that the queue only grows. The first and the last thousand come over
HTTP, one at a time, and are timed; those between are submitted as a busy gateway does it, in
coalesced batches.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

from bench import cpu, models
from bench.client import LoadSpec, Request
from bench.cluster import Cluster, cluster
from bench.load import Load, run_load
from bench.plan import Figures, Measured, Plan, quantile
from bench.table import listing
from bench.texts import texts
from services.preprocess.chunks import chunks_of
from services.preprocess.codecs import open_codec
from shared import keys
from shared.contract import ONLY_TENANT, Chunk, GatewayId, Job, JobId, Lane
from shared.model_spec import ModelSpec
from shared.queue.connection import connect
from shared.queue.jobs import JobQueue, Queued, SubmitPolicy
from shared.repository import open_repository

JOBS: Final = 1_000_000
TIMED: Final = 1_000
COALESCED: Final = 128
"""Jobs in one submit, as the gateway has it at most."""

_NO_LIMIT_TOKENS: Final = 10**12
_SUBMITTERS: Final = 2
_SEED: Final = 5


def measure(plan: Plan) -> Measured:
    """One run: what it measures hardly varies."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.SHIPPED,
        "PENSTOCK_GATEWAY_QUEUE_LIMIT_TOKENS": str(_NO_LIMIT_TOKENS),
    }
    tokenizer = models.tokenizer_of(models.SHIPPED, plan.cache)
    lines = texts(tokenizer, TIMED, seed=_SEED)
    spec = open_repository([models.SHIPPED_FOLDER], models.SHIPPED, weights=False).default
    chunks = _one_line_chunks(spec, lines)
    between = plan.size(JOBS, 20_000) - 2 * TIMED
    with cluster(plan.cache, "memory", environ=environ, predictors=0) as running:
        before = asyncio.run(_used_bytes(running.redis_url))
        first = _timed(running, lines)
        redis_before_s = cpu.read(running.pids)["redis"]
        seconds = asyncio.run(_submit(running.redis_url, spec, chunks, between))
        redis_cpu_s = cpu.read(running.pids)["redis"] - redis_before_s
        last = _timed(running, lines)
        after = asyncio.run(_used_bytes(running.redis_url))
        keys_bytes = asyncio.run(_by_key(running.redis_url, spec))
    jobs = between + 2 * TIMED
    figures: Figures = {
        "jobs": jobs,
        "payload_bytes": round(sum(len(chunk.payload) for chunk in chunks) / len(chunks), 1),
        "redis_bytes_a_job": round((after - before) / jobs, 1),
        **keys_bytes,
        **_latencies("first", first),
        **_latencies("last", last),
        "coalesced_jobs_per_s": round(between / seconds),
        "coalesced_redis_cpu_us": round(redis_cpu_s * 1e6 / between, 1),
    }
    return Measured(runs=[figures], summary=figures, text=listing(figures))


def _one_line_chunks(spec: ModelSpec, lines: Sequence[str]) -> list[Chunk]:
    encoded = open_codec(spec).encode(lines, truncate=True)
    cut = [chunks_of([one], chunk_tokens=512, chunk_rows=32)[0] for one in encoded]
    return [chunk for (chunk,) in cut]


def _timed(running: Cluster, lines: Sequence[str]) -> Load:
    spec = LoadSpec(
        port=running.port,
        path="/jobs",
        connections=1,
        warm=0,
        timed=TIMED,
        requests=[Request({"inputs": line}) for line in lines],
        status=202,
    )
    return run_load(running, spec)


def _latencies(which: str, load: Load) -> Figures:
    return {
        f"{which}_thousand_p50_ms": quantile(load.seen.latencies_ms, 0.5),
        f"{which}_thousand_p99_ms": quantile(load.seen.latencies_ms, 0.99),
    }


async def _submit(url: str, spec: ModelSpec, chunks: Sequence[Chunk], count: int) -> float:
    """Submit ``count`` jobs; seconds."""
    policy = SubmitPolicy(
        retention_ms=3_600_000,
        forward_limit_ms=60_000,
        queue_limit_tokens=_NO_LIMIT_TOKENS,
        tenant_limit_tokens=_NO_LIMIT_TOKENS,
    )
    redis = connect(url)
    queue = JobQueue(redis, gateway=GatewayId("bench"), policy=policy)
    starts = iter(range(0, count, COALESCED))

    async def submitter() -> None:
        for start in starts:
            numbers = range(start, min(start + COALESCED, count))
            jobs = [_job(spec, chunks[number % len(chunks)]) for number in numbers]
            answers = await queue.submit(jobs, watch=False)
            assert all(isinstance(answer, Queued) for answer in answers), answers

    started_at = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_SUBMITTERS):
            tasks.create_task(submitter())
    await redis.aclose()
    return time.perf_counter() - started_at


def _job(spec: ModelSpec, chunk: Chunk) -> Job:
    job_id = uuid.uuid4()
    return Job(
        id=JobId(str(job_id)),
        model=spec.key,
        fingerprint=job_id.bytes,
        lane=Lane.BULK,
        tenant=ONLY_TENANT,
        chunks=(chunk,),
        admit_us=100,
        preprocess_us=300,
    )


async def _used_bytes(url: str) -> int:
    """Memory that Redis has given out, once no rewrite of its file needs a buffer."""
    redis = connect(url)
    try:
        while (await redis.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        memory: dict[str, Any] = await redis.info("memory")
        return int(memory["used_memory"]) - int(memory["mem_aof_buffer"])
    finally:
        await redis.aclose()


async def _by_key(url: str, spec: ModelSpec) -> Figures:
    """Where the bytes are: the record of a job, and its entry in the stream."""
    redis = connect(url)
    try:
        stream = keys.stream(spec.key, Lane.BULK)
        entries = int(await redis.xlen(stream))
        stream_bytes = int(await redis.memory_usage(stream, samples=0) or 0)
        sampled = [await _a_record(redis) for _ in range(100)]
    finally:
        await redis.aclose()
    return {
        "record_bytes": round(sum(sampled) / len(sampled), 1),
        "entry_bytes": round(stream_bytes / entries, 1),
    }


async def _a_record(redis: Redis) -> int:
    prefix = keys.job(JobId("")).encode()
    while True:
        key: Any = await redis.randomkey()
        if key.startswith(prefix):
            return int(await redis.memory_usage(key) or 0)
