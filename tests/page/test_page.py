"""The page at ``/``, in a real browser: what people see, type, draw, drop and are answered."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request

from services.gateway.routes.page import page_routes
from tests.page.chromium import Chromium

pytestmark = pytest.mark.timeout(180)

ROOT: Final = Path(__file__).parents[2]
SEVEN: Final = ROOT / "models" / "mnist-digits" / "sample.png"
PAGE: Final = ("/", "/page.css", "/page.js")
STAGES: Final = ["admit", "preprocess", "queue", "batch", "inference", "settle", "reply"]
ANSWERED: Final = "document.querySelector('#answer .timings')"

# --- the files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files() -> dict[str, httpx.Response]:
    app = FastAPI()
    app.include_router(page_routes())
    assert app.openapi()["paths"] == {}

    async def fetch() -> dict[str, httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return {path: await client.get(path) for path in PAGE}

    return asyncio.run(fetch())


def test_every_file_has_its_type_and_is_asked_for_again(files: dict[str, httpx.Response]) -> None:
    types = {path: file.headers["content-type"] for path, file in files.items()}

    assert types == {
        "/": "text/html; charset=utf-8",
        "/page.css": "text/css; charset=utf-8",
        "/page.js": "text/javascript; charset=utf-8",
    }
    assert {file.headers["cache-control"] for file in files.values()} == {"no-cache"}
    assert sum(len(file.content) for file in files.values()) < 32_768


def test_a_page_may_load_nothing_from_elsewhere(files: dict[str, httpx.Response]) -> None:
    for file in files.values():
        policy = file.headers["content-security-policy"].split("; ")

        assert policy[:2] == ["default-src 'self'", "img-src 'self' data: blob:"]
        assert "unsafe" not in file.headers["content-security-policy"]
        assert not re.search(r"//[\w.-]+\.\w|https?:|@import|url\(", file.text)


def test_nothing_is_ever_read_as_markup(files: dict[str, httpx.Response]) -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\("

    assert not re.search(ways, files["/page.js"].text)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_is_to_be_read_stands_out(files: dict[str, httpx.Response], scheme: int) -> None:
    palette = re.findall(r":root \{(.*?)\}", files["/page.css"].text, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", palette))

    for ink, paper in (
        *((ink, paper) for ink in ("ink", "soft", "accent", "bad") for paper in ("paper", "card")),
        *(("on-accent", "accent"), ("ink", "bad-wash"), ("ink", "field")),
    ):
        assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it, from 1 to 21."""
    lighter, darker = sorted(map(_luminance, (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- all shipped models, as somebody who looks and tries --------------------------------------


def visit(tab: Chromium, address: str, model: str, **size: int) -> None:
    tab.open(f"{address}/#try={model}", **size)
    tab.wait(f"document.querySelector('#model').value === '{model}'")


def predicted(tab: Chromium) -> list[str]:
    """The labels, best first."""
    tab.click("#predict")
    tab.wait(ANSWERED)
    return tab.texts("#answer .labels b")


@pytest.mark.slow
def test_what_runs_is_shown(tab: Chromium, shipped_models: str) -> None:
    tab.open(shipped_models)
    tab.wait("document.querySelectorAll('#predictors tr').length === 4")

    shipped = ["clinc-intents", "iris-svm", "mnist-digits", "nsmc-sentiment"]
    assert tab.texts("#models td:first-child a") == shipped
    assert "default model" in tab.texts("#models td:first-child")[3]
    assert tab.texts("#models td:nth-child(2)")[2] == "1 predictor\n1 preprocess worker"
    assert tab.text("#preprocessors td").startswith("mnist-digits@1")
    assert tab.text("#pulse") == "live"
    assert tab.js("document.querySelector('#model').value") == "nsmc-sentiment"


@pytest.mark.slow
def test_a_text_is_typed(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "nsmc-sentiment")
    sample = predicted(tab)
    tab.fill("textarea", "지루하고 뻔한 이야기, 돈이 아깝다")
    typed = predicted(tab)

    assert (sample, typed) == (["positive", "negative"], ["negative", "positive"])
    assert [text.strip() for text in tab.texts(".timings dt")] == STAGES
    assert tab.js("document.querySelectorAll('.stages i').length") == len(STAGES)


@pytest.mark.slow
def test_of_many_labels_the_best_are_shown(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "clinc-intents")
    sample = predicted(tab)
    tab.fill("textarea", "set an alarm for seven in the morning")
    typed = predicted(tab)

    assert (sample[0], typed[0]) == ("exchange_rate", "alarm")
    assert len(sample) == len(typed) == 5


@pytest.mark.slow
def test_a_row_is_filled(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "iris-svm")
    sample = predicted(tab)
    for at, value in enumerate(("6.9", "3.1", "5.9", "2.3"), start=1):
        tab.fill(f".features label:nth-child({at}) input", value)
    filled = predicted(tab)

    assert (sample[0], filled[0]) == ("setosa", "virginica")


@pytest.mark.slow
def test_the_sample_picture_is_sent_as_it_is(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "mnist-digits")

    labels = predicted(tab)

    assert (labels[0], len(labels)) == ("7", 5)


@pytest.mark.slow
def test_a_digit_is_drawn_with_the_mouse(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "mnist-digits")
    box = tab.js("document.querySelector('canvas').getBoundingClientRect().toJSON()")
    assert box["width"] == box["height"], "what is drawn is not stretched"
    x, y = tab.middle_of("canvas")
    tab.drag((x, y - 60), *((x, y + dy) for dy in range(-50, 60, 10)))

    assert predicted(tab)[0] == "1"


@pytest.mark.slow
def test_a_digit_is_drawn_with_a_finger(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "mnist-digits", width=390, height=844)
    x, y = tab.middle_of("canvas")
    scrolled = tab.js("scrollY")
    tab.swipe((x - 50, y - 80), (x, y - 80), (x + 50, y - 80), (x + 10, y), (x - 20, y + 80))

    assert tab.js("scrollY") == scrolled
    assert predicted(tab)[0] == "7"


@pytest.mark.slow
def test_a_picture_is_dropped(tab: Chromium, shipped_models: str) -> None:
    visit(tab, shipped_models, "mnist-digits")
    tab.click(".clear")
    tab.drop(SEVEN, "canvas")
    tab.wait("document.querySelector('.shown').textContent === 'sample.png'")

    assert predicted(tab)[0] == "7"


@pytest.mark.slow
def test_a_file_that_is_no_picture_is_refused_in_words(
    tab: Chromium, shipped_models: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(SEVEN.read_bytes()[:10])
    visit(tab, shipped_models, "mnist-digits")
    tab.choose_file(tmp_path / "broken.png", "input[type=file]")
    tab.wait("document.querySelector('.shown').textContent.includes('cannot be shown')")
    tab.click("#predict")
    tab.wait("document.querySelector('.problem')")

    assert tab.text(".problem strong") == "The request cannot be served as it stands"
    assert "broken or incomplete" in tab.text(".problem p")

    tab.choose_file(SEVEN, "input[type=file]")
    assert predicted(tab)[0] == "7"


@pytest.mark.slow
def test_what_is_not_done_in_time_is_shown_as_a_job_and_waited_for(
    tab: Chromium, shipped_models: str
) -> None:
    visit(tab, shipped_models, "nsmc-sentiment")
    tab.js(
        "new MutationObserver(() => window.seen = (window.seen ?? '') + "
        "document.querySelector('#answer').innerText).observe("
        "document.querySelector('#answer'), {childList: true, subtree: true, characterData: true})"
    )
    tab.do("Network.setExtraHTTPHeaders", headers={"Prefer": "respond-async"})

    assert predicted(tab)[0] == "positive"
    assert re.search(r"Still queued as job [0-9a-f]{8}-", tab.js("window.seen"))


@pytest.mark.slow
def test_a_gateway_that_is_away_is_said_and_asked_again(tab: Chromium, shipped_models: str) -> None:
    reach = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    visit(tab, shipped_models, "nsmc-sentiment")
    tab.do("Network.emulateNetworkConditions", offline=True, **reach)
    tab.wait("document.querySelector('#trouble').textContent")
    told = tab.text("#trouble")
    tab.click("#predict")
    tab.wait("document.querySelector('.problem')")
    tab.do("Network.emulateNetworkConditions", offline=False, **reach)
    tab.wait("!document.querySelector('#trouble').textContent")

    assert told.startswith("No answer: The gateway cannot be reached. What is below was so at ")
    assert tab.text(".problem strong") == "No answer"
    assert tab.text("#pulse") == "live"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nsmc-sentiment", "clinc-intents", "iris-svm", "mnist-digits"])
def test_a_phone_scrolls_down_only(tab: Chromium, shipped_models: str, model: str) -> None:
    visit(tab, shipped_models, model, width=360, height=740)
    predicted(tab)

    assert tab.js("document.documentElement.scrollWidth") <= 360


# --- a gateway that says what no shipped model would ------------------------------------------


MARKUP: Final = "<img src=x onerror=\"document.title='broken into'\">"
INFO: Final = {
    "name": MARKUP,
    "version": "2",
    "versions": ["1", "2"],
    "task": "custom",
    "description": MARKUP,
    "features": [],
    "missing": [],
    "sample": {"of": MARKUP},
}
QUEUE: Final = {"jobs": 3, "tokens": 12_345, "oldest_s": 75.0}
ONE: Final = {"model": MARKUP, "task": MARKUP, "queue": QUEUE, "predictors": 0}
STATUS: Final[dict[str, object]] = {
    "version": MARKUP,
    "uptime_s": 90_000.0,
    "requests": 3,
    "versions": [
        {**ONE, "version": "1", "default": False, "preprocessors": None},
        {**ONE, "version": "2", "default": True, "preprocessors": 0},
    ],
    "predictors": [],
    "refused": {"films@3": MARKUP},
    "preprocessors": [],
    "warnings": [MARKUP],
}
ANSWER: Final[dict[str, object]] = {
    "outputs": [{"top": [{"label": MARKUP, "score": 0.75}]}, {"error": {"code": MARKUP}}],
    "timings_ms": {"inference": 1.5},
}


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[bytes]]]:
    """A gateway's address, and the bodies that it is sent."""
    app, sent = FastAPI(), list[bytes]()
    app.include_router(page_routes())
    app.add_api_route("/models", lambda: {"default": MARKUP, "models": [INFO]})
    app.add_api_route("/status", lambda: STATUS)

    async def predict(rest: str, request: Request) -> dict[str, object]:
        sent.append(rest.encode() + b" " + await request.body())
        return ANSWER

    app.add_api_route("/models/{rest:path}", predict, methods=["POST"])

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", sent
    server.should_exit = True
    thread.join()


def test_what_comes_from_outside_is_text(tab: Chromium, stranger: tuple[str, list[bytes]]) -> None:
    address, sent = stranger
    tab.open(address)
    tab.wait("document.querySelector('#models td')")
    tab.fill("textarea", json.dumps({"typed": MARKUP}))
    tab.choose("#model-version", "1")

    assert predicted(tab) == [MARKUP]
    assert tab.js("document.querySelectorAll('img').length") == 0
    assert tab.js("document.title") == "Penstock"
    assert tab.text("#version") == tab.text("#about") == MARKUP
    assert sent[0].startswith(f"{MARKUP}/versions/1/predict ".encode())
    assert json.loads(sent[0].partition(b"predict ")[2])["inputs"] == {"typed": MARKUP}


def test_what_nobody_serves_is_plain_to_see(
    tab: Chromium, stranger: tuple[str, list[bytes]]
) -> None:
    tab.open(stranger[0])
    tab.wait("document.querySelector('#models td')")

    served = tab.texts("#models td:nth-child(2)")
    assert served == ["no predictor", "no predictor\nno preprocess worker"]
    assert tab.texts("#models tr:last-child td.number") == ["3", "12,345", "1 min"]
    assert tab.texts("#models .muted") == [
        f"version 1 · {MARKUP}",
        f"version 2 · {MARKUP} · default version · default model",
    ]
    assert tab.text("#nobody").startswith("There is no predictor")
    assert tab.texts("#refused *") == ["films@3 cannot be loaded", MARKUP]
    assert tab.texts("#warnings li") == [f"Warning: {MARKUP}."]
    assert tab.text("#uptime") == "up 1 d 1 h"


def test_what_cannot_be_sent_is_said_before_it_is(
    tab: Chromium, stranger: tuple[str, list[bytes]]
) -> None:
    address, sent = stranger
    tab.open(address)
    tab.wait("document.querySelector('#models td')")
    tab.fill("textarea", "{")
    tab.click("#predict")
    tab.wait("document.querySelector('.problem')")

    assert "JSON" in tab.text(".problem")
    assert sent == []


def test_of_several_labels_those_over_the_threshold_are_named(
    tab: Chromium, stranger: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a model whose labels may be right together, and one where none is."""
    top = [{"label": name, "score": score} for name, score in (("joy", 0.9), ("awe", 0.6))]
    some = {"label": "joy", "score": 0.9, "top": top, "threshold": 0.5, "labels": top}
    none = {**some, "threshold": 0.95, "labels": []}
    monkeypatch.setitem(ANSWER, "outputs", [some, none])
    tab.open(stranger[0])
    tab.wait("document.querySelector('#models td')")
    tab.fill("textarea", "{}")

    assert predicted(tab) == ["joy", "awe", "joy", "awe"]
    assert tab.texts("#answer .given") == ["over 0.5: joy, awe", "over 0.95: no label"]


def test_an_eviction_policy_is_warned_of_until_it_is_mended(
    tab: Chromium, stranger: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the gateway: tests/gateway/test_unfit_redis.py has where they come from."""
    advice = "this Redis has maxmemory-policy allkeys-lru: set it to noeviction"
    monkeypatch.setitem(STATUS, "warnings", [advice])
    tab.open(stranger[0])
    tab.wait("document.querySelector('#warnings li')")
    assert tab.texts("#warnings li") == [f"Warning: {advice}."]

    monkeypatch.setitem(STATUS, "warnings", [])
    tab.wait("document.querySelector('#warnings').hidden")

    assert tab.texts("#warnings li") == []
