"""``make containers``: build, start, scale and break the containers, and account for every job.

Not one of the tests: it needs an engine, minutes, and the port. ``COMPOSE`` and ``ENGINE``
in the environment say what runs them, ``docker compose`` and ``docker`` by default.
Data and images stay; containers go.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).parents[2]
FILE: Final = "compose/compose.yaml"
COMPOSE: Final = shlex.split(os.environ.get("COMPOSE", "docker compose"))
ENGINE: Final = shlex.split(os.environ.get("ENGINE", "docker"))
ADDRESS: Final = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
TEXTS: Final = ("정말 재미있는 영화예요", "시간이 아까운 영화", "배우들의 연기가 훌륭하다")
PREDICTORS, GATEWAYS = 3, 2


@dataclass(frozen=True)
class Kind:
    """One input for one kind of model, and the label that must come back."""

    name: str
    model: str
    sent: dict[str, Any]
    label: str

    def label_is_right(self, told: dict[str, Any]) -> bool:
        return bool(told["outputs"][0]["label"] == self.label)


SEVEN: Final = (ROOT / "models" / "mnist-digits" / "sample.png").read_bytes()
KINDS: Final = (
    Kind("text", "nsmc-sentiment", {"json": {"inputs": TEXTS[0]}}, "positive"),
    Kind("picture", "mnist-digits", {"files": {"image": SEVEN}}, "7"),
    Kind("row", "iris-svm", {"json": {"inputs": [5.1, 3.5, 1.4, 0.2]}}, "setosa"),
)


def run(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def engine(*words: str) -> str:
    return run(*ENGINE, *words).strip()


def compose(*words: str) -> str:
    return run(*COMPOSE, "-f", FILE, *words)


def containers(service: str) -> list[str]:
    labels = {"project": "penstock", "service": service}
    filters = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in labels.items()]
    return engine("ps", "--quiet", *filters).split()


def say(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, flush=True)


@dataclass
class Load:
    """Clients that ask without pause, and what became of each request."""

    client: httpx.AsyncClient
    answers: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, Kind] = field(default_factory=dict)

    async def ask(self, kind: Kind, route: str, *, keyed: bool) -> None:
        headers = {"Idempotency-Key": str(uuid.uuid4())} if keyed else {}
        path = f"/models/{kind.model}/{route}"
        asked = f"{kind.name} {route}{' keyed' if keyed else ''}"
        try:
            answer = await self.client.post(path, headers=headers, **kind.sent)
        except httpx.HTTPError as error:
            self.answers[f"{asked} {type(error).__name__}"] += 1
            return
        told = answer.json()
        self.answers[f"{asked} {answer.status_code} {told.get('code', '')}".strip()] += 1
        if answer.status_code == httpx.codes.OK:
            assert kind.label_is_right(told), told
        if answer.status_code == httpx.codes.ACCEPTED:
            self.accepted[told["id"]] = kind
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            await asyncio.sleep(0.05)

    async def keep_asking(self, kind: Kind, route: str, *, keyed: bool) -> None:
        while True:
            await self.ask(kind, route, keyed=keyed)

    async def states(self, kind: Kind) -> Counter[str]:
        """How every accepted job of a kind has ended."""
        ended: Counter[str] = Counter()
        for job in [job for job, its_kind in self.accepted.items() if its_kind is kind]:
            told = (await self.client.get(f"/jobs/{job}", params={"wait": "60"})).json()
            state = told.get("state", told.get("code"))
            wrong = state == "succeeded" and not kind.label_is_right(told)
            ended["wrong" if wrong else state] += 1
        return ended


async def ready(client: httpx.AsyncClient, *, predictors: int, within_s: float = 300) -> float:
    """Until so many predictors are alive; how long that took."""
    began_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            with suppress(httpx.HTTPError):
                answer = await client.get("/readyz", params={"verbose": ""})
                alive: dict[str, int] = answer.json().get("predictors", {})
                if (
                    answer.status_code == httpx.codes.OK
                    and min(alive.values(), default=0) >= predictors
                ):
                    return time.monotonic() - began_s
            await asyncio.sleep(0.2)


async def answered(client: httpx.AsyncClient) -> float:
    """Until every kind is predicted again; how long that took."""
    began_s = time.monotonic()
    for kind in KINDS:
        status: int | None = None
        while status != httpx.codes.OK:
            with suppress(httpx.HTTPError):
                status = (await client.get(f"/models/{kind.model}/test")).status_code
    return time.monotonic() - began_s


def look_at_the_images() -> None:
    for service in ("gateway", "predictor"):
        name = containers(service)[0]
        user = engine("exec", name, "id", "-u")
        size = int(engine("image", "inspect", f"penstock-{service}", "--format", "{{.Size}}"))
        heavy = "import importlib.util as u; print(bool(u.find_spec('torch')))"
        torch = engine("exec", name, "python", "-c", heavy)
        say(f"{service}: uid {user}, {size / 1e6:.0f} MB, torch: {torch}")
        assert user != "0"
        assert torch == str(service == "predictor")


async def look_at_the_answers(client: httpx.AsyncClient) -> None:
    one = await client.post("/predict", json={"inputs": TEXTS[0]})
    say("sync", one.status_code, one.json()["outputs"])
    job = await client.post("/jobs", json={"inputs": TEXTS[1]})
    record = await client.get(job.headers["Location"], params={"wait": "30"})
    say("async", job.status_code, record.json()["state"], record.json()["outputs"])
    many = await client.post("/predict", json={"inputs": [*TEXTS] * 100})
    say("batch", many.status_code, many.json()["counts"])
    large = await client.post("/predict", json={"inputs": "x" * 17_000_000})
    say("too large", large.status_code, large.headers["Content-Type"], large.json()["code"])


def kill(name: str) -> None:
    engine("kill", "--signal=KILL", name)


def kill_and_start(name: str) -> None:
    kill(name)
    time.sleep(3)
    engine("start", name)


async def under_load(load: Load, what: str, fault: Callable[[], None]) -> None:
    """Some seconds of load with a fault after the first; what the callers saw of it."""
    before = load.answers.copy()
    clients = [("predict", True)] * 2 + [("predict", False), ("jobs", True)]
    tasks = [
        asyncio.create_task(load.keep_asking(kind, route, keyed=keyed))
        for kind in KINDS
        for route, keyed in clients
    ]
    await asyncio.sleep(1)
    await asyncio.to_thread(fault)
    recovery_s = await answered(load.client)
    await asyncio.sleep(4)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    say(f"{what}: every kind again {recovery_s:.1f} s later")
    for answer, count in sorted((load.answers - before).items()):
        print(f"           {count:6} {answer}")


async def break_everything_once(client: httpx.AsyncClient) -> None:
    load = Load(client)
    await under_load(load, "nothing broken", lambda: None)
    for service in ("predictor", "gateway"):
        name = containers(service)[0]
        await under_load(load, f"a {service} killed", partial(kill, name))
        engine("start", name)
        await ready(client, predictors=PREDICTORS)
    for service in ("preprocess", "redis"):  # the only one of each
        (name,) = containers(service)
        await under_load(load, f"{service} away for 3 s", partial(kill_and_start, name))
    for kind in KINDS:
        states = await load.states(kind)
        say(f"{states.total()} jobs of a {kind.name} accepted: {dict(states)}")
        assert set(states) == {"succeeded"}


async def main() -> None:
    say("build")
    compose("build")
    os.environ |= {"PREDICTORS": str(PREDICTORS), "GATEWAYS": str(GATEWAYS)}
    say("up")
    compose("up", "--detach", "--force-recreate")
    async with httpx.AsyncClient(base_url=ADDRESS, timeout=150) as client:
        say(f"ready after {await ready(client, predictors=PREDICTORS):.1f} s")
        await answered(client)
        look_at_the_images()
        await look_at_the_answers(client)
        await break_everything_once(client)
    say("down")
    compose("down")


if __name__ == "__main__":
    asyncio.run(main())
