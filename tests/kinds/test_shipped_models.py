"""Every kind of model through HTTP, queue and predictor, and what each of them refuses."""

import base64
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image, ImageOps

from tests.kinds.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SEVEN = (ROOT / "models" / "mnist-digits" / "sample.png").read_bytes()
SETOSA = [5.1, 3.5, 1.4, 0.2]
NAMED = {
    "petal width (cm)": 0.2,
    "petal length (cm)": 1.4,
    "sepal width (cm)": 3.5,
    "sepal length (cm)": 5.1,
}
DIGITS, IRIS = "/models/mnist-digits/predict", "/models/iris-svm/predict"
INTENTS = "/models/clinc-intents/predict"


def in_base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def jpeg_of(file: bytes, *, size: int) -> bytes:
    """Black on white and larger, as somebody would photograph it."""
    written = io.BytesIO()
    inverted = ImageOps.invert(Image.open(io.BytesIO(file)))
    inverted.resize((size, size)).convert("RGB").save(written, "JPEG")
    return written.getvalue()


def labels(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["label"] for row in answer.json()["outputs"]]


def test_every_model_answers_its_own_sample(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]

    answers = {one["name"]: labels(client.get(f"/models/{one['name']}/test")) for one in models}

    assert answers["clinc-intents"] == ["exchange_rate"]
    assert answers["mnist-digits"] == ["7"]
    assert answers["iris-svm"] == ["setosa"]
    assert answers["nsmc-sentiment"] == ["positive"]


def test_a_picture_comes_as_a_file_in_a_form_or_in_base64(client: httpx.Client) -> None:
    raw = client.post(DIGITS, content=SEVEN, headers={"Content-Type": "image/png"})
    form = client.post(DIGITS, files={"image": SEVEN}, data={"top_k": "3"})
    json = client.post(DIGITS, json={"inputs": in_base64(SEVEN)})
    named = client.post("/predict", files={"image": SEVEN}, data={"model": "mnist-digits"})

    assert labels(raw) == labels(form) == labels(json) == labels(named) == ["7"]
    assert len(form.json()["outputs"][0]["top"]) == 3


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"files": {"file": SEVEN}}, id="another name"),
        pytest.param({"files": {"image": (None, SEVEN)}}, id="no file name"),
        pytest.param({"files": {"upload": (None, SEVEN)}}, id="neither"),
        pytest.param({"files": {"x": ("", SEVEN, "text/plain")}}, id="an empty file name"),
        *[
            pytest.param({"content": SEVEN, "headers": {"Content-Type": media}}, id=media)
            for media in ("image/jpg", "image/webp", "application/octet-stream", "image/png; q=1")
        ],
    ],
)
def test_a_picture_is_read_whatever_its_clients_call_it(
    client: httpx.Client, sent: dict[str, Any]
) -> None:
    assert labels(client.post(DIGITS, **sent)) == ["7"]


def test_a_picture_is_read_in_every_format(client: httpx.Client) -> None:
    picture = Image.open(io.BytesIO(SEVEN)).resize((280, 280))
    for kind, options in (("JPEG", {"quality": 90}), ("WEBP", {"quality": 90}), ("PNG", {})):
        written = io.BytesIO()
        picture.save(written, kind, **options)
        text = base64.urlsafe_b64encode(written.getvalue()).decode().rstrip("=")

        assert labels(client.post(DIGITS, files={"image": written.getvalue()})) == ["7"], kind
        assert labels(client.post(DIGITS, json={"inputs": text})) == ["7"], kind


def test_several_pictures_in_one_request(client: httpx.Client) -> None:
    form = client.post(DIGITS, files=[("image", SEVEN), ("image", b"none"), ("image", SEVEN)])
    json = client.post(DIGITS, json={"inputs": [in_base64(SEVEN), "bm9uZQ==", in_base64(SEVEN)]})

    for answer in (form, json):
        first, second, third = answer.json()["outputs"]
        assert first == third
        assert first["label"] == "7"
        assert second["error"]["code"] == "invalid_request"


def test_a_photograph_of_a_digit_is_the_digit(client: httpx.Client) -> None:
    photograph = jpeg_of(SEVEN, size=700)

    answer = client.post(DIGITS, content=photograph, headers={"Content-Type": "image/jpeg"})

    assert labels(answer) == ["7"]


@pytest.mark.parametrize("inputs", [SETOSA, [SETOSA], NAMED, [NAMED, SETOSA]])
def test_a_row_comes_as_values_or_by_name(client: httpx.Client, inputs: Any) -> None:
    answer = client.post(IRIS, json={"inputs": inputs})

    assert set(labels(answer)) == {"setosa"}


@pytest.mark.parametrize(
    ("request_", "intent"),
    [
        ("Book me a flight from Boston to Seattle on Friday", "book_flight"),
        ("What's the weather like in Lisbon tomorrow?", "weather"),
        ("how do you say good morning in french", "translate"),
        ("I lost my credit card, what now?", "report_lost_card"),
        ("tell me a joke", "tell_joke"),
        ("who wrote the first novel ever printed", "oos"),
    ],
)
def test_a_request_has_an_intent_or_is_out_of_scope(
    client: httpx.Client, request_: str, intent: str
) -> None:
    assert labels(client.post(INTENTS, json={"inputs": request_})) == [intent]


def test_texts_of_two_models_are_not_mixed_up(client: httpx.Client) -> None:
    asked = [("/predict", "지루하다", "negative"), (INTENTS, "set an alarm for six", "alarm")] * 50

    with ThreadPoolExecutor(8) as callers:
        answers = callers.map(
            lambda one: labels(client.post(one[0], json={"inputs": one[1]})), asked
        )

        assert list(answers) == [[label] for *_, label in asked]


def test_every_intent_has_its_place(client: httpx.Client) -> None:
    top = client.post(
        INTENTS, json={"inputs": "where is my package", "parameters": {"top_k": 151}}
    ).json()["outputs"][0]["top"]

    assert len({one["label"] for one in top}) == 151
    assert sum(one["score"] for one in top) == pytest.approx(1, abs=1e-4)


def test_a_job_of_any_kind_is_read_by_its_id(client: httpx.Client) -> None:
    picture = client.post("/models/mnist-digits/jobs", files={"image": SEVEN}).json()
    row = client.post("/models/iris-svm/jobs", json={"inputs": SETOSA}).json()

    for job, label in ((picture, "7"), (row, "setosa")):
        record = client.get(f"/jobs/{job['id']}?wait=30").json()
        assert record["state"] == "succeeded"
        assert record["outputs"][0]["label"] == label


def test_the_same_picture_under_one_key_is_the_same_job(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "seven"}

    first, again = (client.post(DIGITS, files={"image": SEVEN}, headers=headers) for _ in range(2))
    other = client.post(DIGITS, files={"image": SEVEN[:-1]}, headers=headers)

    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 422


def test_all_kinds_at_once_come_back_to_whom_they_belong(client: httpx.Client) -> None:
    def ask(number: int) -> tuple[str, list[str]]:
        match number % 3:
            case 0:
                return "7", labels(client.post(DIGITS, files={"image": SEVEN}))
            case 1:
                return "setosa", labels(client.post(IRIS, json={"inputs": SETOSA}))
            case _:
                return "negative", labels(client.post("/predict", json={"inputs": "지루하다"}))

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(ask, range(300)))

    assert all(got == [wanted] for wanted, got in answers)


@pytest.mark.parametrize(
    ("path", "sent", "status", "told"),
    [
        (DIGITS, {"content": SEVEN[:10], "headers": {"Content-Type": "image/png"}}, 422, "broken"),
        (DIGITS, {"files": {"image": b""}}, 422, "picture of 0 bytes"),
        (DIGITS, {"files": {"photo": (None, b"no file")}}, 422, "a part named 'photo'"),
        (
            DIGITS,
            {"files": {"model": (None, b"x" * 1_025)}},
            422,
            "has 1025 bytes in its part model",
        ),
        (DIGITS, {"files": {"image": SEVEN}, "data": {"top_k": "many"}}, 422, "top_k"),
        (DIGITS, {"files": {"image": SEVEN}, "data": {"size": "1"}}, 422, "a part named 'size'"),
        (DIGITS, {"json": {"inputs": "no base64"}}, 422, "is not base64"),
        (DIGITS, {"json": {"inputs": [1, 2]}}, 422, "`$.inputs[0]`"),
        (DIGITS, {"json": {"inputs": []}}, 422, "length >= 1"),
        (DIGITS, {"content": b"x", "headers": {"Content-Type": "image/gif"}}, 415, "image/png"),
        (
            DIGITS,
            {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "no multipart/form-data",
        ),
        (IRIS, {"json": {"inputs": [1, 2, 3]}}, 422, "row has 3 values, the model takes 4"),
        (IRIS, {"json": {"inputs": [1, 2, 3, "x"]}}, 422, "got `str` - at `$.inputs[3]`"),
        (IRIS, {"json": {"inputs": {"sepal": 1}}}, 422, "'sepal', which is no feature"),
        (IRIS, {"content": b'{"inputs": [NaN, 1, 2, 3]}'}, 400, "not JSON"),
        (IRIS, {"content": b'{"inputs": [1e999, 1, 2, 3]}'}, 422, ""),
        (IRIS, {"files": {"image": SEVEN}}, 415, "takes no files"),
        ("/predict", {"json": {"inputs": [1.5]}}, 422, "`$.inputs[0]`"),
        ("/models/iris-svm/versions/9/predict", {"json": {"inputs": SETOSA}}, 404, "no version"),
    ],
)
def test_what_cannot_be_served_says_why(
    client: httpx.Client, path: str, sent: dict[str, Any], status: int, told: str
) -> None:
    answer = client.post(path, **sent)

    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    assert told in answer.json()["detail"]


def test_the_document_describes_every_kind(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()

    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    pictures = {"image/png", "image/jpeg", "image/webp", "application/octet-stream"}
    assert set(body) == {"application/json", "multipart/form-data"} | pictures
    forms = document["components"]["schemas"]["PredictBody"]["properties"]["inputs"]["anyOf"]
    assert {form["type"] for form in forms} == {"string", "array", "object"}


def test_every_name_in_the_document_is_described(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()

    operations = [one for methods in document["paths"].values() for one in methods.values()]
    tags = [tag["name"] for tag in document["tags"]]
    assert list(undescribed(document)) == []
    assert set(tags) == {tag for operation in operations for tag in operation["tags"]}
    assert tags[0] == "predictions"


def undescribed(part: Any, path: str = "") -> Iterator[str]:
    """Fields, headers and parameters of which nothing is said."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    if not isinstance(part, dict):
        return
    named = [*part.get("properties", {}).items(), *part.get("headers", {}).items()]
    if isinstance(part.get("parameters"), list):
        named += [(one["name"], one) for one in part["parameters"]]
    yield from (f"{path}/{name}" for name, one in named if not one.get("description"))
    for name, value in part.items():
        yield from undescribed(value, f"{path}/{name}")


def test_the_short_routes_are_of_the_default_model(client: httpx.Client) -> None:
    text = {"inputs": "정말 재미있는 영화예요"}

    assert client.get("/health").json() == {"health": "ok"}
    assert client.get("/metadata").json()["name"] == "nsmc-sentiment"
    assert client.get("/label").json() == {"0": "negative", "1": "positive"}
    assert labels(client.get("/predict/test")) == ["positive"]
    assert client.get("/predict/test/label").json() == {"prediction": "positive"}
    assert client.post("/predict/label", json=text).json() == {"prediction": "positive"}


def test_several_labels_come_as_a_list_and_none_for_a_row_that_failed(
    client: httpx.Client,
) -> None:
    body = {"data": [SETOSA, [1]], "model": "iris-svm"}

    assert client.post("/predict/label", json=body).json() == {"prediction": ["setosa", None]}
    assert client.post("/predict/label", json={"inputs": 1}).status_code == 422


def test_the_status_has_a_preprocess_worker_where_a_model_wants_one(client: httpx.Client) -> None:
    status = client.get("/status").json()
    while len(status["predictors"]) < len(status["versions"]):  # the gateway looks every second
        time.sleep(0.1)
        status = client.get("/status").json()

    wanted = {one["model"]: one["preprocessors"] for one in status["versions"]}
    assert wanted.pop("mnist-digits") == 1
    assert set(wanted.values()) == {None}
    assert {one["model"] for one in status["preprocessors"]} == {"mnist-digits@1"}
    assert len(status["predictors"]) == len(wanted) + 1
