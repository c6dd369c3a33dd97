"""A request of 10,000 pictures that are none holds no other caller up."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Final

import httpx
import pytest

from tests.fault.cluster import ROOT
from tests.fault.conftest import StartCluster

pytestmark = pytest.mark.timeout(180)

PICTURES: Final = 10_000
LONGEST_HOLD_S: Final = 0.5
"""Each piece of work is some milliseconds; it was 1.1 s."""
_SLACK: Final = 10
"""Times what a health check takes at its longest beside nothing, on a machine that is busy."""
SERVED: Final = {"PENSTOCK_MODELS": str(ROOT / "models"), "PENSTOCK_MODEL": "mnist-digits"}


def in_json() -> tuple[bytes, str]:
    return json.dumps({"inputs": [""] * PICTURES}).encode(), "application/json"


def in_a_form() -> tuple[bytes, str]:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n\r\n'
    return part * PICTURES + b"--b--\r\n", "multipart/form-data; boundary=b"


class Pulse:
    """Asks the gateway for its health, again and again: its longest silence."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            started_s = time.monotonic()
            (await self._http.get("/livez")).raise_for_status()
            self.longest_s = max(self.longest_s, time.monotonic() - started_s)
            await asyncio.sleep(0.002)


@pytest.mark.slow
async def test_ten_thousand_empty_pictures_hold_no_other_caller_up(
    start_cluster: StartCluster,
) -> None:
    cluster = await start_cluster(gateways=1, preprocessors=1, fsync="everysec", environ=SERVED)
    base = cluster.gateways[0].base
    report: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=base, timeout=120, trust_env=False) as http:
        await http.post("/jobs", json={"inputs": [""] * 500})  # scripts are loaded, threads started
        alone = Pulse(http)
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await alone.run()
        for name, (body, media) in {"json": in_json(), "form": in_a_form()}.items():
            pulse = Pulse(http)
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(pulse.run())
                answer = await http.post("/jobs", content=body, headers={"Content-Type": media})
                record = await http.get(answer.headers["location"] + "?wait=100")
                beating.cancel()
            report[name] = pulse.longest_s
            assert answer.status_code == 202
            assert record.json()["state"] == "failed"
            assert record.json()["counts"] == {
                "total": PICTURES,
                "succeeded": 0,
                "failed": PICTURES,
            }
            assert "picture of 0 bytes" in record.json()["outputs"][-1]["error"]["detail"]

    print({name: f"{longest_s * 1e3:.0f} ms" for name, longest_s in report.items()})
    bound_s = max(LONGEST_HOLD_S, _SLACK * alone.longest_s)
    assert max(report.values()) < bound_s, (report, alone.longest_s)
