"""Other servers at the same work: throughput at 64 clients, as documented and at their best.

The same weights, the same texts, the same cores, one after the other. A peer runs with batches
of 32, as its documentation has it, and at the best of a small sweep: with and without batching,
one process or one for each core, and of its best batch size less and more patience. Ours runs
with one predictor and with two; and with two that pad, as the peers do: what is left then is the
server's, and the order of the weights.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final

from bench import models
from bench.client import HOST, LoadSpec
from bench.cluster import cluster
from bench.load import Load, LoadFailed, run_load
from bench.peers.catalogue import PEERS, NotInstalled, Peer, PeerDidNotStart, Setting, serving
from bench.peers.sweep import best_setting
from bench.peers.work import OURS, OwnSetting, Work, classifier, echo
from bench.plan import Figures, Measured, Plan, medians, quantile
from bench.table import table
from services.local.parts import free_ports

CLIENTS: Final = 64

_START_LIMIT_S: Final = 180.0
_POLL_S: Final = 0.25
_COLUMNS: Final = ("server", "setting", "per_s", "p50_ms", "p99_ms", "cpu_us", "ours_is")


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that serves."""

    port: int
    pids: dict[str, int]

    def counters(self) -> dict[str, float]:
        """None of ours."""
        return {}


def measure(plan: Plan) -> Measured:
    """Medians of several interleaved runs, for the echo and for the classifier."""
    runs: list[Figures] = []
    parts: list[str] = []
    for work in (echo(plan), classifier(plan)):
        of_work = _measured(work, plan)
        runs += of_work
        rows = _summed_up(of_work)
        shown: list[Figures] = [{name: row[name] for name in _COLUMNS} for row in rows]
        parts += [f"{work.name}, {CLIENTS} clients:", "", table(shown), ""]
    return Measured(runs=runs, summary=_ratios(runs), text="\n".join(parts))


def _measured(work: Work, plan: Plan) -> list[Figures]:
    chosen: list[tuple[Peer, Setting, str]] = []
    for peer in PEERS:
        try:
            best = _best(peer, work, plan)
        except (NotInstalled, PeerDidNotStart, LoadFailed) as exc:
            print(f"{peer.name} is left out: {exc}", flush=True)
            continue
        chosen += [(peer, peer.documented(), "documented"), (peer, best, "best")]
    runs: list[Figures] = []
    for _ in range(plan.runs):
        runs += [_ours(work, plan, setting) for setting in work.own_settings]
        for peer, setting, how in chosen:
            load = _run(peer, setting, work, plan, timed=work.timed)
            runs.append(_figures(work, peer.name, f"{how}: {setting}", load))
    return runs


def _best(peer: Peer, work: Work, plan: Plan) -> Setting:
    def per_s(setting: Setting) -> float:
        reached = _run(peer, setting, work, plan, timed=work.swept).per_s
        print(f"{work.name}: {peer.name}, {setting}: {reached:.1f}/s", flush=True)
        return reached

    return best_setting(peer, per_s)


def _run(peer: Peer, setting: Setting, work: Work, plan: Plan, *, timed: int) -> Load:
    with _started(peer, setting, work, plan) as running:
        return run_load(running, _spec(peer, running, work, timed=timed))


@contextmanager
def _started(peer: Peer, setting: Setting, work: Work, plan: Plan) -> Iterator[Running]:
    port = free_ports(1)[0]
    serve = serving(peer, setting, model=work.peer_model, port=port, cache=plan.cache)
    with serve as process:
        deadline = time.monotonic() + _START_LIMIT_S
        while not _answers(peer, port, work.texts[0]):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PeerDidNotStart(f"{peer.name} ended, or was not ready in time")
            time.sleep(_POLL_S)
        yield Running(port, {peer.name: process.pid})


def _answers(peer: Peer, port: int, text: str) -> bool:
    connection = HTTPConnection(HOST, port, timeout=60)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", peer.path, json.dumps(peer.body(text)), headers)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _spec(peer: Peer, running: Running, work: Work, *, timed: int) -> LoadSpec:
    return LoadSpec(
        port=running.port,
        path=peer.path,
        connections=CLIENTS,
        warm=max(2 * CLIENTS, timed // 4),
        timed=timed,
        requests=peer.requests(work.texts, work.scores),
        answer=peer.answer,
    )


def _ours(work: Work, plan: Plan, setting: OwnSetting) -> Figures:
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": work.own_model,
        "PENSTOCK_PREDICTOR_PACK": str(not setting.padded).lower(),
    }
    label = f"peers-{setting.predictors}"
    with cluster(plan.cache, label, environ=environ, predictors=setting.predictors) as running:
        spec = LoadSpec(
            port=running.port,
            connections=CLIENTS,
            warm=max(2 * CLIENTS, work.timed // 4),
            timed=work.timed,
            requests=work.own,
        )
        load = run_load(running, spec)
    return _figures(work, setting.server, str(setting), load)


def _figures(work: Work, server: str, setting: str, load: Load) -> Figures:
    latencies_ms = load.seen.latencies_ms
    return {
        "work": work.name,
        "server": server,
        "setting": setting,
        "per_s": round(load.per_s, 1),
        "p50_ms": quantile(latencies_ms, 0.5),
        "p99_ms": quantile(latencies_ms, 0.99),
        # All that the machine did, but for the client: some of them leave their process tree.
        "cpu_us": round(
            (sum(load.cpu_s.values()) + load.others_cpu_s - load.cpu_s["client"])
            * 1e6
            / load.seen.requests
        ),
    }


def _summed_up(runs: list[Figures]) -> list[Figures]:
    """Medians by server and setting, the fastest first, and how many times that we are."""
    keys = dict.fromkeys((run["server"], run["setting"]) for run in runs)
    rows = [
        medians([run for run in runs if (run["server"], run["setting"]) == key]) for key in keys
    ]
    ours = max(float(row["per_s"]) for row in rows if row["server"] == OURS)
    for row in rows:
        row["ours_is"] = round(ours / float(row["per_s"]), 2)
    return sorted(rows, key=lambda row: -float(row["per_s"]))


def _ratios(runs: list[Figures]) -> Figures:
    summary: Figures = {}
    for work in dict.fromkeys(run["work"] for run in runs):
        for row in _summed_up([run for run in runs if run["work"] == work]):
            how = str(row["setting"]).partition(":")[0]
            summary[f"{work}: {row['server']}, {how}"] = row["ours_is"]
    return summary
