"""Versions come, go and change places under load: no request fails, no job is lost."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fault.cluster import READY_WITHIN_S, Cluster
from tests.fault.conftest import StartCluster

pytestmark = pytest.mark.timeout(180)  # a bound for hanging, not for speed

KEY = "an admin key of some length"
ADMIN = {"Authorization": f"Bearer {KEY}"}
ENVIRON = {"PENSTOCK_GATEWAY_ADMIN_KEY": KEY}
PATH = "/models/stand-in/serving"


@pytest.fixture(autouse=True)
def two_versions(tmp_path: Path) -> Path:
    """Of the stand-in that the cluster makes."""
    folder = tmp_path / "models" / "stand-in"
    for version in ("1", "2"):
        (folder / version).mkdir(parents=True)
    return folder


class Callers:
    """Clients that ask on and on, and note which version answered."""

    def __init__(self, cluster: Cluster) -> None:
        self._clients = [
            httpx.AsyncClient(base_url=gateway.base, timeout=30, trust_env=False)
            for gateway in cluster.gateways
        ]
        self.versions: list[str] = []
        self.failed: list[str] = []
        self._stop = asyncio.Event()

    @property
    def client(self) -> httpx.AsyncClient:
        return self._clients[0]

    async def ask(self, number: int) -> None:
        client = self._clients[number % len(self._clients)]
        while not self._stop.is_set():
            answer = await client.post("/predict", json={"inputs": f"text {len(self.versions)}"})
            if answer.status_code == 200:
                self.versions.append(answer.json()["version"])
            else:
                self.failed.append(answer.text)

    async def answered_by(self, *versions: str) -> None:
        """Wait until the last answers are all of these versions."""
        async with asyncio.timeout(READY_WITHIN_S):
            while set(self.versions[-60:]) != set(versions) or len(self.versions) < 60:
                await asyncio.sleep(0.05)

    async def served_by(self, predictors: dict[str, int]) -> None:
        """Wait until so many predictors have each version, as the gateways know it."""
        async with asyncio.timeout(READY_WITHIN_S):
            while (await self.client.get(PATH)).json()["predictors"] != predictors:
                await asyncio.sleep(0.05)

    async def want(self, **wanted: Any) -> httpx.Response:
        return await self.client.put(PATH, json=wanted, headers=ADMIN)

    async def close(self) -> None:
        self._stop.set()
        for client in self._clients:
            await client.aclose()


async def followed(client: httpx.AsyncClient, path: str) -> None:
    """Wait until every gateway does what is wanted."""
    async with asyncio.timeout(READY_WITHIN_S):
        while True:
            found = (await client.get(path)).json()
            if set(found["gateways"].values()) == {found["revision"]}:
                return
            await asyncio.sleep(0.05)


async def test_a_switch_a_split_and_an_unload_under_load_fail_no_request(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(predictors=2, gateways=2, environ=ENVIRON)
    callers = Callers(cluster)
    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(callers.ask(number))
        await callers.answered_by("2")

        assert (await callers.want(versions=["1", "2"], default="1")).status_code == 200
        await callers.answered_by("1")

        split = await callers.want(versions=["1", "2"], default="1", weights={"1": 1, "2": 1})
        assert split.json()["weights"] == {"1": 1, "2": 1}
        await callers.answered_by("1", "2")

        await callers.want(versions=["2"])
        await callers.served_by({"1": 0, "2": 2})
        await callers.answered_by("2")

        await callers.want(versions=["1", "2"], default="1")
        await callers.served_by({"1": 2, "2": 2})
        await callers.answered_by("1")
        callers._stop.set()

    assert callers.failed == []
    assert len(callers.versions) > 300
    await callers.close()


async def test_a_version_that_is_put_there_later_is_loaded_without_a_restart(
    start_cluster: StartCluster, two_versions: Path
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, environ=ENVIRON)
    callers = Callers(cluster)
    (two_versions / "3").mkdir()

    assert (await callers.want(versions=["2", "3"], default="3")).json()["known"] == [*"123"]
    await callers.served_by({"1": 0, "2": 1, "3": 1})
    await followed(callers.client, PATH)

    answer = await callers.client.post("/predict", json={"inputs": "new"})
    gone = await callers.client.post("/models/stand-in/versions/1/predict", json={"inputs": "x"})
    assert answer.json()["version"] == "3"
    assert gone.status_code == 404
    assert "ask for one of 2, 3" in gone.json()["detail"]
    await callers.close()


async def test_who_only_looks_has_no_file_read(
    start_cluster: StartCluster, two_versions: Path
) -> None:
    cluster = await start_cluster(gateways=1, environ=ENVIRON)
    callers = Callers(cluster)
    before = (await callers.client.get(PATH)).json()
    (two_versions / "3").mkdir()
    (two_versions / "model.toml").write_text("no TOML")

    looked = await callers.client.get(PATH)
    changed = await callers.want(versions=["3"])

    assert (looked.status_code, looked.json()) == (200, before)
    assert (changed.status_code, changed.json()["code"]) == (422, "invalid_request")
    assert "cannot be read as TOML" in changed.json()["detail"]
    await callers.close()


async def test_a_process_that_starts_later_follows_what_was_wished_before(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, environ=ENVIRON)
    callers = Callers(cluster)
    await callers.want(versions=["1"])
    await callers.served_by({"1": 1, "2": 0})

    later = cluster.gateway()
    await later.ready()
    async with httpx.AsyncClient(base_url=later.base, trust_env=False) as client:
        answer = await client.post("/predict", json={"inputs": "x"})
        reset = await client.delete(PATH, headers=ADMIN)

    assert answer.json()["version"] == "1"
    assert reset.json()["versions"] == ["1", "2"]
    await callers.served_by({"1": 1, "2": 1})
    await callers.close()


async def test_a_version_that_comes_later_is_preprocessed_too(
    start_cluster: StartCluster, two_versions: Path
) -> None:
    cluster = await start_cluster(
        predictors=1, gateways=1, preprocessors=1, preprocess="worker", environ=ENVIRON
    )
    callers = Callers(cluster)
    (two_versions / "3").mkdir()

    await callers.want(versions=["3"])
    await callers.served_by({"1": 0, "2": 0, "3": 1})
    await followed(callers.client, PATH)
    answer = await callers.client.post("/predict", json={"inputs": "new"})

    assert (answer.status_code, answer.json()["version"]) == (200, "3")
    await callers.close()


def sums(folder: Path, *, broken: str) -> None:
    """A model of two versions in the user's own Python, one of which cannot be loaded."""
    python = "def load(folder):\n    return 1\n\n\ndef predict(model, batch):\n    return batch\n"
    toml = 'task = "tabular-classification"\nbackend = "python"\nlabels = ["a", "b"]\n'
    for version in ("1", "2"):
        (folder / version).mkdir(parents=True)
        code = python.replace("return 1", "return 1 / 0") if version == broken else python
        (folder / version / "model.py").write_text(code)
    (folder / "model.toml").write_text(toml + 'sample = [1, 2]\ntable = {features = ["x", "y"]}\n')


async def test_callers_stay_with_what_is_served_until_what_is_wanted_can_be(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "sums"
    sums(folder, broken="2")
    (folder / "2").rename(folder / ".2")
    cluster = await start_cluster(predictors=2, gateways=1, environ=ENVIRON)
    (folder / ".2").rename(folder / "2")
    url = cluster.gateways[0].base
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:

        async def answered() -> str:
            answer = await client.post("/models/sums/predict", json={"inputs": [2, 1]})
            return f"{answer.status_code} by {answer.json().get('version')}"

        await client.put("/models/sums/serving", json={"versions": ["2"]}, headers=ADMIN)
        async with asyncio.timeout(READY_WITHIN_S):
            while not all("ZeroDiv" in one.log.read_text() for one in cluster.predictors):
                assert await answered() == "200 by 1"
        for _ in range(30):  # a second and more: every process has looked again
            assert await answered() == "200 by 1"
            await asyncio.sleep(0.05)

        cluster.predictors[0].kill()
        cluster.predictors[0].start()  # alone, a wish that cannot be had does not keep it down
        await cluster.predictors[0].ready()
        cluster.predictors[1].kill()  # nor does it lose what is still asked for
        assert await answered() == "200 by 1"
        cluster.predictors[1].start()
        other = await client.post("/predict", json={"inputs": "x"})
        wish = {"versions": ["1", "2"], "default": "1"}
        await client.put("/models/sums/serving", json=wish, headers=ADMIN)
        async with asyncio.timeout(READY_WITHIN_S):
            while await served(client) != {"1": 2, "2": 0}:
                assert await answered() == "200 by 1"

    assert other.status_code == 200
    assert [one.status for one in cluster.predictors] == [None, None]


async def served(client: httpx.AsyncClient) -> dict[str, int]:
    """Predictors that have each version."""
    found: dict[str, int] = (await client.get("/models/sums/serving")).json()["predictors"]
    return found


async def test_a_predictor_loads_only_what_is_wanted_when_it_starts(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(predictors=1, gateways=1, environ=ENVIRON)
    url = cluster.gateways[0].base
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        wish = {"versions": ["1"]}
        await client.put("/models/stand-in/serving", json=wish, headers=ADMIN)
        await followed(client, PATH)

    later = cluster.predictor()
    await later.ready()

    loaded = [line for line in later.log.read_text().splitlines() if "model loaded" in line]
    assert len(loaded) == 1
    assert "stand-in@1" in loaded[0]
