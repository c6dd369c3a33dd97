import asyncio
import re
import uuid

import httpx
import pytest

from tests.gateway.echo_worker import EchoWorker
from tests.redis_server import RedisServer

STAGES = ["admit", "preprocess", "queue", "batch", "inference", "settle", "reply"]


@pytest.mark.usefixtures("predictor")
async def test_a_text_is_answered_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"inputs": "hello"})

    body = answer.json()
    assert answer.status_code == 200
    assert body["outputs"] == [{"echo": "hello"}]
    assert (body["model"], body["version"]) == ("stand-in", "1")
    assert body["counts"] == {"total": 1, "succeeded": 1, "failed": 0}
    assert uuid.UUID(body["id"])


@pytest.mark.usefixtures("predictor")
@pytest.mark.parametrize(
    "path", ["/predict", "/models/stand-in/predict", "/models/stand-in/versions/1/predict"]
)
async def test_a_model_is_named_in_the_path_or_not_at_all(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.post(path, json={"data": ["a", "b"]})

    assert answer.json()["outputs"] == [{"echo": "a"}, {"echo": "b"}]


@pytest.mark.usefixtures("predictor")
async def test_a_model_is_named_in_the_body(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/predict", json={"inputs": "a", "model": "stand-in", "version": "1"}
    )

    assert answer.status_code == 200


@pytest.mark.usefixtures("predictor")
async def test_many_inputs_of_many_lengths_come_back_in_their_order(
    client: httpx.AsyncClient,
) -> None:
    texts = ["x" * (1 + (37 * i) % 190) + str(i) for i in range(400)]

    answer = await client.post("/predict", json={"inputs": texts})

    assert [row["echo"] for row in answer.json()["outputs"]] == texts


@pytest.mark.usefixtures("predictor")
async def test_rows_fail_alone(client: httpx.AsyncClient) -> None:
    texts = ["good", "poison", "x" * 5_000, "also good"]

    answer = await client.post("/predict", json={"inputs": texts})

    outputs = answer.json()["outputs"]
    assert answer.status_code == 200
    assert [list(row) for row in outputs] == [["echo"], ["error"], ["error"], ["echo"]]
    assert outputs[1]["error"]["code"] == "prediction_failed"
    assert outputs[2]["error"]["code"] == "input_too_long"
    assert answer.json()["counts"] == {"total": 4, "succeeded": 2, "failed": 2}


@pytest.mark.usefixtures("predictor")
async def test_when_every_row_failed_the_first_error_is_the_answer(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/predict", json={"inputs": ["poison", "x" * 5_000]})

    problem = answer.json()
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "prediction_failed"
    record = await client.get(f"/jobs/{problem['job']}")
    assert record.json()["state"] == "failed"


@pytest.mark.usefixtures("predictor")
async def test_the_stages_add_up_to_the_whole(client: httpx.AsyncClient) -> None:
    """To what the gateway counts as the request's duration; the caller sees a little more."""
    before_s, summed_ms = await _counted_s(client), 0.0

    for _ in range(20):
        answer = await client.post("/predict", json={"inputs": "hello"})
        spent = answer.json()["timings_ms"]
        summed_ms += sum(spent.values())

        told = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
        assert list(spent) == STAGES
        assert {stage: float(ms) for stage, ms in told.items()} == spent
        assert all(ms >= 0 for ms in spent.values())
        assert sum(spent.values()) <= answer.elapsed.total_seconds() * 1e3
        assert (spent["batch"], spent["inference"]) == (0.02, 0.03)

    counted_s = await _counted_s(client) - before_s
    assert summed_ms == pytest.approx(counted_s * 1e3, abs=0.5)  # each is rounded to 1 us


async def test_a_wait_that_runs_out_becomes_a_job(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"inputs": "later"}, headers={"Prefer": "wait=0"})
    waited = await client.post("/predict", json={"inputs": "later"}, headers={"Prefer": "wait=1"})

    for accepted in (answer, waited):
        assert accepted.status_code == 202
        assert accepted.headers["location"] == f"/jobs/{accepted.json()['id']}"
        assert accepted.json()["state"] == "queued"
        assert "outputs" not in accepted.json()
    assert answer.headers["preference-applied"] == "wait=0"
    assert 1 <= waited.elapsed.total_seconds() < 2


@pytest.mark.usefixtures("predictor")
async def test_a_caller_may_prefer_not_to_wait(client: httpx.AsyncClient) -> None:
    headers = {"Prefer": "respond-async"}

    answer = await client.post("/predict", json={"inputs": "later"}, headers=headers)

    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    record = await client.get(answer.headers["location"], params={"wait": 5})
    assert record.json()["outputs"] == [{"echo": "later"}]


@pytest.mark.usefixtures("predictor")
async def test_the_same_key_and_payload_is_the_same_job(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": f'"{uuid.uuid4()}"'}

    first = await client.post("/predict", json={"inputs": "once"}, headers=headers)
    bare = {"Idempotency-Key": headers["Idempotency-Key"].strip('"')}
    again = await client.post("/predict", json={"inputs": ["once"]}, headers=bare)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["outputs"] == again.json()["outputs"]


async def test_twins_wait_for_one_job(
    client: httpx.AsyncClient, gateway_redis: RedisServer
) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    async with asyncio.TaskGroup() as tasks:
        twins = [
            tasks.create_task(client.post("/predict", json={"inputs": "twin"}, headers=headers))
            for _ in range(3)
        ]
        await asyncio.sleep(0.3)
        worker = EchoWorker(gateway_redis.url)
        running = tasks.create_task(worker.run())
        await asyncio.wait(twins)
        running.cancel()

    answers = [twin.result() for twin in twins]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.usefixtures("predictor")
async def test_a_key_belongs_to_its_payload(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}

    await client.post("/predict", json={"inputs": "one"}, headers=headers)
    other = await client.post("/predict", json={"inputs": "other"}, headers=headers)

    assert other.status_code == 422
    assert other.json()["code"] == "job_conflict"


@pytest.mark.parametrize("how", ["body", "header"])
async def test_a_deadline_ends_what_nobody_began(client: httpx.AsyncClient, how: str) -> None:
    body: dict[str, object] = {"inputs": "too late"}
    headers = {"X-Deadline-Ms": "300"} if how == "header" else {}
    if how == "body":
        body["deadline_ms"] = 300

    answer = await client.post("/predict", json=body, headers=headers)

    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline_exceeded"
    assert 0.3 <= answer.elapsed.total_seconds() < 1


@pytest.mark.usefixtures("predictor")
async def test_a_request_id_is_echoed_or_made(client: httpx.AsyncClient) -> None:
    own = await client.post("/predict", json={"inputs": "a"}, headers={"X-Request-Id": "mine-1"})
    made = await client.post("/predict", json={"inputs": "a"}, headers={"X-Request-Id": "a" * 200})

    assert own.headers["x-request-id"] == "mine-1"
    assert len(made.headers["x-request-id"]) == 32


async def _counted_s(client: httpx.AsyncClient) -> float:
    figures = (await client.get("/metrics")).text
    found = re.search(r"^penstock_request_duration_seconds_sum\S* (\S+)$", figures, re.MULTILINE)
    return float(found[1]) if found else 0.0
