"""Who may change what is served, and what a wish must look like."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.process import GatewayProcess, running_gateway
from tests.redis_server import running_redis

PATH = "/models/stand-in/serving"
GAUGES = r"penstock_(queue_jobs|queue_tokens|queue_oldest_age_seconds|predictors_alive){"


@pytest.fixture(scope="module")
def with_a_key() -> Iterator[GatewayProcess]:
    """On a Redis of its own: what is wished there is nobody else's business."""
    with running_redis() as redis, running_gateway(redis.url, admin_key="k" * 16) as process:
        yield process


@pytest.fixture
async def admitting(with_a_key: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=with_a_key.url, timeout=15) as client:
        yield client


async def test_anybody_may_look(client: httpx.AsyncClient) -> None:
    serving = (await client.get(PATH)).json()

    assert (serving["versions"], serving["default"], serving["known"]) == (["1"], "1", ["1"])
    assert serving["weights"] == {}
    assert set(serving["gateways"].values()) == {serving["revision"]}


@pytest.mark.parametrize(
    ("headers", "code", "status"),
    [
        ({}, "key_refused", 401),
        ({"Authorization": "Bearer wrong"}, "key_refused", 401),
        ({"Authorization": "Basic wrong"}, "key_refused", 401),
        ({"X-API-Key": "wrong"}, "key_refused", 401),
    ],
)
async def test_without_the_key_nothing_is_changed(
    admitting: httpx.AsyncClient, headers: dict[str, str], code: str, status: int
) -> None:
    for method in ("PUT", "DELETE"):
        answer = await admitting.request(method, PATH, json={"versions": []}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["www-authenticate"] == "Bearer"

    assert (await admitting.get(PATH)).json()["versions"] == ["1"]


async def test_a_gateway_without_a_key_changes_nothing_for_anybody(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.put(PATH, json={"versions": []}, headers={"X-API-Key": "any"})

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert "PENSTOCK_GATEWAY_ADMIN_KEY" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({}, "missing required field `versions`"),
        ({"versions": ["9"]}, "has no version '9', it has 1: put it"),
        ({"versions": ["1"], "default": "2"}, "default is '2', which is not among versions"),
        ({"versions": ["1"], "weights": {"2": 1}}, "weights has '2', which is not among versions"),
        ({"versions": ["1"], "weights": {"1": -1}}, "`$.weights[...]`"),
        ({"versions": ["1"], "weights": {"1": 0}}, "all weights are 0"),
        ({"versions": ["1"], "verions": []}, "unknown field `verions`"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused(
    admitting: httpx.AsyncClient, wish: dict[str, object], told: str
) -> None:
    answer = await admitting.put(PATH, json=wish, headers={"X-API-Key": "k" * 16})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert told in answer.json()["detail"]


async def test_a_wish_says_what_it_has_seen(admitting: httpx.AsyncClient) -> None:
    key = {"X-API-Key": "k" * 16}
    seen = (await admitting.get(PATH)).json()["revision"]

    first = await admitting.put(PATH, json={"versions": ["1"], "revision": seen}, headers=key)
    second = await admitting.put(PATH, json={"versions": [], "revision": seen}, headers=key)
    reset = await admitting.delete(PATH, headers=key)

    assert first.json()["revision"] == seen + 1
    assert (second.status_code, second.json()["code"]) == (409, "catalogue_conflict")
    assert reset.json()["revision"] == seen + 2


async def test_of_a_version_that_is_no_longer_served_no_gauge_is_left(
    admitting: httpx.AsyncClient,
) -> None:
    key = {"X-API-Key": "k" * 16}

    async def gauges(*, until: int) -> list[str]:
        """Those with the model's labels, as soon as there are so many."""
        async with asyncio.timeout(10):
            while True:
                lines = (await admitting.get("/metrics")).text.splitlines()
                told = [line for line in lines if re.match(GAUGES, line)]
                if len(told) == until:
                    return told
                await asyncio.sleep(0.05)

    before = await gauges(until=4)
    await admitting.put(PATH, json={"versions": []}, headers=key)
    await gauges(until=0)
    await admitting.delete(PATH, headers=key)

    assert all('{model="stand-in",version="1"}' in line for line in before)
    assert await gauges(until=4) == before


async def test_a_model_that_is_not_there_cannot_be_wished_for(
    admitting: httpx.AsyncClient,
) -> None:
    key = {"X-API-Key": "k" * 16}

    answers = [
        await admitting.get("/models/none/serving"),
        await admitting.put("/models/none/serving", json={"versions": []}, headers=key),
        await admitting.delete("/models/none/serving", headers=key),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


OWN = """
{top}
def encode(given):
    return {{"n": [len(given)]}}
def decode(outputs):
    return outputs
def load(folder):
    return None
def predict(model, batch):
    return batch
"""
INLINE = 'task = "custom"\nbackend = "python"\nsample = "a"\npreprocess = "inline"\n'


async def test_a_version_whose_inputs_cannot_be_read_is_refused_and_says_why(
    tmp_path: Path,
) -> None:
    """Whether the model is new or served already; one that is served goes on."""
    shutil.copytree("tests/models/stand-in", tmp_path / "stand-in")
    own, path, key = tmp_path / "own", "/models/own/serving", {"X-API-Key": "k" * 16}
    (own / "1").mkdir(parents=True)
    (own / "model.toml").write_text(INLINE)

    def written(version: str, top: str = "") -> None:
        (own / version / "model.py").write_text(OWN.format(top=top))

    with (
        running_redis() as redis,
        running_gateway(redis.url, shared={"models": tmp_path}, admin_key="k" * 16) as gateway,
    ):
        async with httpx.AsyncClient(base_url=gateway.url, timeout=15, headers=key) as client:
            written("1", "import a_package_that_is_not_there")
            new = await client.put(path, json={"versions": ["1"]})
            unserved = (await client.get(path)).json()
            told = (await client.get("/status")).json()["refused"]
            written("1")
            served = await client.put(path, json={"versions": ["1"]})
            (own / "2").mkdir()
            written("2", "import a_package_that_is_not_there")
            second = await client.put(path, json={"versions": ["1", "2"]})
            after = (await client.get(path)).json()

    for refused in (new, second):
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert "No module named 'a_package_that_is_not_there'" in refused.json()["detail"]
    assert (unserved["known"], set(unserved["refused"])) == ([], {""})
    assert "a_package_that_is_not_there" in told["own"]
    assert (served.status_code, served.json()["versions"]) == (200, ["1"])
    assert (after["versions"], after["known"], set(after["refused"])) == (["1"], ["1"], {""})
