import asyncio
import uuid
from datetime import datetime

import httpx
import pytest


async def queued(client: httpx.AsyncClient, text: str = "job", **more: object) -> str:
    answer = await client.post("/jobs", json={"inputs": text, **more})
    assert answer.status_code == 202
    return str(answer.json()["id"])


@pytest.mark.usefixtures("predictor")
async def test_a_job_is_accepted_and_read_by_its_id(client: httpx.AsyncClient) -> None:
    accepted = await client.post("/models/stand-in/jobs", json={"inputs": ["a", "b"]})
    record = await client.get(accepted.headers["location"], params={"wait": 5})

    body = record.json()
    assert accepted.status_code == 202
    assert accepted.json()["state"] == "queued"
    assert record.status_code == 200
    assert body["state"] == "succeeded"
    assert body["outputs"] == [{"echo": "a"}, {"echo": "b"}]
    assert body["counts"] == {"total": 2, "succeeded": 2, "failed": 0}
    assert body["attempt"] == 1
    times = [body[at] for at in ("created_at", "started_at", "completed_at", "retained_until")]
    assert times == sorted(times, key=datetime.fromisoformat)
    assert "reply" not in body["timings_ms"]


@pytest.mark.usefixtures("predictor")
async def test_a_failed_job_is_data(client: httpx.AsyncClient) -> None:
    job = await queued(client, "poison")

    record = await client.get(f"/jobs/{job}", params={"wait": 5})

    assert record.status_code == 200
    assert record.json()["state"] == "failed"
    assert record.json()["outputs"][0]["error"]["code"] == "prediction_failed"


@pytest.mark.usefixtures("predictor")
async def test_a_job_under_ones_own_id_is_made_once(client: httpx.AsyncClient) -> None:
    path = f"/jobs/{uuid.uuid4()}"

    first = await client.put(path, json={"inputs": "mine"})
    again = await client.put(path, json={"inputs": "mine"})
    other = await client.put(path, json={"inputs": "another"})

    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert first.json()["id"] == again.json()["id"]
    assert other.json()["code"] == "job_conflict"


async def test_an_id_of_ones_own_is_a_uuid(client: httpx.AsyncClient) -> None:
    answer = await client.put("/jobs/mine", json={"inputs": "mine"})

    assert answer.status_code == 422
    assert "UUID" in answer.json()["detail"]


async def test_a_job_is_canceled_once_and_again(client: httpx.AsyncClient) -> None:
    job = await queued(client)

    first = await client.post(f"/jobs/{job}/cancel")
    again = await client.post(f"/jobs/{job}/cancel")

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["state"] == "canceled"
    assert first.json()["outputs"][0]["error"]["code"] == "canceled"
    assert first.json()["counts"] == {"total": 1, "succeeded": 0, "failed": 1}


async def test_a_poll_hears_of_a_cancel(client: httpx.AsyncClient) -> None:
    job = await queued(client)
    async with asyncio.TaskGroup() as tasks:
        poll = tasks.create_task(client.get(f"/jobs/{job}", params={"wait": 5}))
        await asyncio.sleep(0.3)
        await client.post(f"/jobs/{job}/cancel")

    assert poll.result().json()["state"] == "canceled"
    assert poll.result().elapsed.total_seconds() < 2


@pytest.mark.usefixtures("predictor")
async def test_what_has_ended_cannot_be_canceled(client: httpx.AsyncClient) -> None:
    job = await queued(client)
    await client.get(f"/jobs/{job}", params={"wait": 5})

    answer = await client.post(f"/jobs/{job}/cancel")

    assert answer.status_code == 409
    assert answer.json()["code"] == "job_terminal"


async def test_only_what_has_ended_is_dropped(client: httpx.AsyncClient) -> None:
    job = await queued(client)

    early = await client.delete(f"/jobs/{job}")
    await client.post(f"/jobs/{job}/cancel")
    dropped = await client.delete(f"/jobs/{job}")
    gone = await client.get(f"/jobs/{job}")

    assert (early.status_code, dropped.status_code, gone.status_code) == (409, 204, 404)
    assert early.json()["code"] == "job_not_terminal"
    assert dropped.content == b""


async def test_an_unknown_job_is_not_found_whatever_its_id_looks_like(
    client: httpx.AsyncClient,
) -> None:
    for job in (str(uuid.uuid4()), "nonsense", "%00", "a" * 500):
        for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
            answer = await client.request(method, f"/jobs/{job}{path}")

            assert answer.status_code == 404
            assert answer.json()["code"] == "job_not_found"


async def test_a_record_is_read_without_waiting(client: httpx.AsyncClient) -> None:
    job = await queued(client)

    record = await client.get(f"/jobs/{job}")

    assert record.json()["state"] == "queued"
    assert record.elapsed.total_seconds() < 0.5


async def test_a_poll_ends_a_job_at_its_deadline(client: httpx.AsyncClient) -> None:
    job = await queued(client, deadline_ms=400)

    record = await client.get(f"/jobs/{job}", params={"wait": 5})

    assert record.json()["state"] == "expired"
    assert record.json()["outputs"][0]["error"]["code"] == "deadline_exceeded"
    assert record.elapsed.total_seconds() < 1
