"""Callers of one short text beside the largest requests that a gateway takes, one after the other.

A few callers of the shipped sentiment model on one predictor: alone, and beside a caller who again
and again sends 10,000 short texts, 341 texts that are as long as a text may be (16 MB in all), or
one text of 16 MB. What they may wait is three times what they have alone and one forward.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR
from typing import Final

import msgspec

from bench import models
from bench.client import HOST
from bench.cluster import cluster
from bench.live import LATENCY, Live, every, kept, live
from bench.plan import Figures, Measured, Plan
from bench.table import side_by_side
from bench.texts import texts

LIVE: Final = 3
LONGEST_FORWARD_MS: Final = 100
"""What a predictor plans at most, unless a setting says otherwise."""

_BODY_BYTES: Final = 16 * 1024 * 1024 - 1_024
_SHORT: Final = 10_000
_LONG: Final = 341
_SYLLABLES: Final = "".join(chr(0xAC00 + 97 * n) for n in range(100))  # three bytes each
_SEED: Final = 13
_TIMEOUT_S: Final = 120


def measure(plan: Plan) -> Measured:
    """Medians of several runs, in turn."""
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": models.SHIPPED,
    }
    bodies = largest(plan)
    asked = Live(callers=LIVE, seed=_SEED + 1, timed=plan.size(600, 30))
    runs: dict[str, list[Figures]] = {"alone": [], **{name: [] for name in bodies}}
    with cluster(plan.cache, "beside-large", environ=environ) as running:
        for _ in range(plan.runs):
            runs["alone"].append(live(running, plan, asked) | {"answered": 0})
            for name, body in bodies.items():
                with sending(running.port, body) as answered:
                    found = live(running, plan, asked)
                runs[name].append(found | {"answered": len(answered)})
    rows = kept(runs, (*LATENCY, "answered"))
    may_ms = 3 * float(rows["alone"]["p99_ms"]) + LONGEST_FORWARD_MS
    worst_ms = max(float(rows[name]["p99_ms"]) for name in bodies)
    summary: Figures = {
        **{f"{name}, p99_of_bound": _part(rows[name], may_ms) for name in bodies},
        "bound_ms": round(may_ms, 1),
        "reached": worst_ms <= may_ms,
    }
    return Measured(runs=every(runs, what="beside"), summary=summary, text=side_by_side(rows))


def largest(plan: Plan) -> dict[str, bytes]:
    """The bodies, by name; what stands around the texts is less than a kibibyte."""
    count = plan.size(_SHORT, 200)
    short = texts(models.tokenizer_of(models.SHIPPED, plan.cache), count, seed=_SEED, median=8)
    size = plan.size(_BODY_BYTES, 1 << 20)
    long = _text(size // _LONG - len('"",'))
    return {
        "short texts": _body(short, truncate=False),
        "longest texts": _body([long] * _LONG, truncate=True),
        "one text": _body(_text(size), truncate=True),
    }


@contextmanager
def sending(port: int, body: bytes) -> Iterator[list[int]]:
    """One caller more for the length of the block, with such a body again and again.

    Gives the list of what it was answered; at the end it hangs up.
    """
    answered: list[int] = []
    over = threading.Event()
    connection = HTTPConnection(HOST, port, timeout=_TIMEOUT_S)

    def send() -> None:
        with suppress(OSError, HTTPException):
            while not over.is_set():
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                answered.append(answer.status)

    thread = threading.Thread(target=send, name="large", daemon=True)
    thread.start()
    try:
        yield answered
    finally:
        over.set()
        with suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(SHUT_RDWR)  # which ends the thread's wait, too
        thread.join(timeout=_TIMEOUT_S)


def _text(size_bytes: int) -> str:
    syllables = size_bytes // len("가".encode())
    return (_SYLLABLES * (syllables // len(_SYLLABLES) + 1))[:syllables]


def _body(inputs: str | list[str], *, truncate: bool) -> bytes:
    return msgspec.json.encode({"inputs": inputs, "parameters": {"truncate": truncate}})


def _part(row: Figures, bound_ms: float) -> float:
    return round(float(row["p99_ms"]) / bound_ms, 2)
