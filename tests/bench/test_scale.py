"""What ends the growth is named from CPU and waiting times alone."""

from bench.plan import Figure, Figures
from bench.scale import BRIEF, Setup, limit_of

SETUP = Setup(BRIEF, predictors=1, gateways=2)


def row(**other: Figure) -> Figures:
    quiet = {f"{name}_{kind}": 0.1 for name in SETUP.processes for kind in ("cpu", "wants")}
    return {"device_busy": 0.5, "machine_busy": 0.5, **quiet, **other}


def test_a_process_that_always_wants_a_core_is_the_limit_though_it_gets_less_than_one() -> None:
    starved = row(**{"gateway-2_cpu": 0.7, "gateway-2_wants": 0.96, "redis_cpu": 0.8})

    limit = limit_of(starved, SETUP)

    assert limit == {"busiest": "gateway-2", "its_cpu": 0.7, "it_wants": 0.96, "limit": "gateway-2"}


def test_where_all_cores_are_busy_the_machine_is_the_limit_and_the_busiest_is_still_named() -> None:
    limit = limit_of(row(machine_busy=0.97, redis_wants=0.95), SETUP)

    assert (limit["limit"], limit["busiest"]) == ("machine", "redis")


def test_busy_devices_are_the_limit_before_anything_else() -> None:
    assert limit_of(row(device_busy=0.93, machine_busy=0.95), SETUP)["limit"] == "devices"


def test_where_nothing_is_used_up_there_is_no_limit_to_name() -> None:
    assert limit_of(row(), SETUP)["limit"] == "none"
