"""What more predictors bring, and which part gives out first.

Stand-ins that wait a fixed time for each batch and compute nothing: the devices are as many as
the predictors, whatever cores this machine has. Slow ones leave the cores idle: 1, 2, 4 and 8
against one show whether the queue is in the way. Brief ones, behind one gateway and behind more,
ask for more than the cores can carry: what ends the growth then is named, with its rate.
"""

from dataclasses import dataclass
from typing import Final

from bench import models
from bench.client import LoadSpec, Request
from bench.cluster import cluster
from bench.load import figures, run_load
from bench.plan import Figures, Measured, Plan, medians
from bench.table import table
from shared.cores import usable_cores

LEAST_OF_LINEAR: Final = 0.95
FULL: Final = 0.9
"""Of the devices' time, of a core or of all cores: from here on it counts as used up."""

_CORES: Final = usable_cores()
_CARRIED_PER_S: Final = 2_500 * _CORES
"""Requests that the cores carry, more or less: how many to send."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Stand-ins of one kind, and what keeps them busy."""

    name: str
    model: str
    rows: int
    """In a batch, at most."""
    clients: int
    """Twice what eight predictors hold: nobody waits for a client."""
    seconds: int

    def most_per_s(self, predictors: int) -> float:
        """Requests that the service time alone would allow."""
        return predictors * self.rows * 1e3 / models.FORWARD_MS[self.model]


@dataclass(frozen=True, slots=True)
class Setup:
    """How many of what."""

    devices: Devices
    predictors: int
    gateways: int = 1

    @property
    def processes(self) -> list[str]:
        """By the names that a cluster gives them."""
        gateways = [f"gateway-{number + 1}" for number in range(self.gateways)]
        predictors = [f"predictor-{number + 1}" for number in range(self.predictors)]
        return ["redis", "client", *gateways, *predictors]


SLOW: Final = Devices("50 ms, 4 rows", models.WAITING, rows=4, clients=128, seconds=10)
BRIEF: Final = Devices("10 ms, 16 rows", models.BRIEF, rows=16, clients=512, seconds=5)

LINEAR: Final = tuple(Setup(SLOW, count) for count in (1, 2, 4, 8))
SATURATED: Final = (
    *(Setup(BRIEF, count) for count in (1, 2, 4, 8)),
    *(Setup(BRIEF, count, gateways) for gateways in (2, 3) for count in (4, 8)),
)

_COSTS: Final = ("gateway_cpu_us", "redis_cpu_us", "predictor_cpu_us")
_LINEAR_COLUMNS: Final = (
    *("predictors", "per_s", "against_one", "of_devices", "mean_batch", "p50_ms", "p99_ms"),
    *(*_COSTS, "cores_busy"),
)
_SATURATED_COLUMNS: Final = (
    *("gateways", "predictors", "per_s", "of_devices", "mean_batch", *_COSTS, "client_cpu_us"),
    *("cores_busy", "busiest", "its_cpu", "it_wants", "limit"),
)


def measure(plan: Plan) -> Measured:
    """Medians of several runs, each of them once with every setup."""
    saturated = SATURATED if not plan.smoke else (SATURATED[0], SATURATED[-1])
    runs = {setup: list[Figures]() for setup in (*LINEAR, *saturated)}
    for _ in range(plan.runs):
        for setup, of_setup in runs.items():
            of_setup.append(_run(setup, plan))
    rows = {setup: medians(of_setup) for setup, of_setup in runs.items()}
    one_per_s = float(rows[LINEAR[0]]["per_s"])
    for setup in LINEAR:
        rows[setup]["against_one"] = round(float(rows[setup]["per_s"]) / one_per_s, 3)
    for setup in saturated:
        rows[setup] |= limit_of(rows[setup], setup)
    return Measured(
        runs=[run for of_setup in runs.values() for run in of_setup],
        summary=_summed_up(rows),
        text="\n".join(
            [
                *_lines(SLOW, [rows[setup] for setup in LINEAR], _LINEAR_COLUMNS),
                *_lines(BRIEF, [rows[setup] for setup in saturated], _SATURATED_COLUMNS),
            ]
        ),
    )


def limit_of(row: Figures, setup: Setup) -> Figures:
    """The busiest process, and what ends the growth: a process, the devices or all cores.

    Busiest is the one whose main thread most of the time ran, or was ready and had no core. Where
    nothing is used up the limit is "none": parts wait for each other.
    """
    busiest = max(setup.processes, key=lambda name: float(row[f"{name}_wants"]))
    cpu, wants = float(row[f"{busiest}_cpu"]), float(row[f"{busiest}_wants"])
    if float(row["device_busy"]) >= FULL:
        limit = "devices"
    elif float(row["machine_busy"]) >= FULL:
        limit = "machine"
    else:
        limit = busiest if wants >= FULL else "none"
    return {"busiest": busiest, "its_cpu": cpu, "it_wants": wants, "limit": limit}


def _run(setup: Setup, plan: Plan) -> Figures:
    devices, predictors = setup.devices, setup.predictors
    environ = {
        "PENSTOCK_MODELS": models.repository(plan.cache),
        "PENSTOCK_MODEL": devices.model,
        "PENSTOCK_PREDICTOR_MAX_ROWS": str(devices.rows),
    }
    most_per_s = devices.most_per_s(predictors)
    texts = [f"request {number:03}" for number in range(500)]
    with cluster(
        plan.cache,
        f"scale-{setup.gateways}-{predictors}",
        environ=environ,
        predictors=predictors,
        gateways=setup.gateways,
    ) as running:
        load = run_load(
            running,
            LoadSpec(
                port=running.port,
                more_ports=tuple(running.ports[1:]),
                connections=devices.clients,
                warm=2 * devices.clients,
                timed=round(min(most_per_s, _CARRIED_PER_S) * plan.size(devices.seconds, 2)),
                requests=[Request({"inputs": text}, {"echo": text}) for text in texts],
            ),
        )
    seconds, cpu_s = load.seen.seconds, sum(load.cpu_s.values())
    return {
        "devices": devices.name,
        "predictors": predictors,
        "gateways": setup.gateways,
        "of_devices": round(load.per_s / most_per_s, 4),
        "device_busy": round(load.device_busy / predictors, 4),
        "mean_batch": round(load.mean_batch, 2),
        "cores_busy": round(cpu_s / seconds, 2),
        "machine_busy": round((cpu_s + load.others_cpu_s) / seconds / _CORES, 3),
        **{f"{name}_cpu": round(s / seconds, 3) for name, s in load.cpu_s.items()},
        **{f"{name}_wants": round(s / seconds, 3) for name, s in load.wanted_s.items()},
        **figures(load),
    }


def _summed_up(rows: dict[Setup, Figures]) -> Figures:
    summary: Figures = {}
    for setup, row in rows.items():
        if setup.devices is SLOW:
            summary[f"against_one_{setup.predictors}"] = row["against_one"]
        else:
            name = f"{setup.gateways} x {setup.predictors}"
            summary |= {f"{name} per_s": row["per_s"], f"{name} limit": row["limit"]}
    of_linear = [float(rows[setup]["against_one"]) / setup.predictors for setup in LINEAR]
    summary["of_linear"] = round(min(of_linear), 3)
    summary["reached"] = min(of_linear) >= LEAST_OF_LINEAR
    return summary


def _lines(devices: Devices, rows: list[Figures], columns: tuple[str, ...]) -> list[str]:
    shown = [{name: row[name] for name in columns} for row in rows]
    return [f"stand-ins of {devices.name}, {devices.clients} clients:", "", table(shown), ""]
