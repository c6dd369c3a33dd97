"""Compressed bodies, and JSON in other dresses than plain UTF-8."""

import codecs
import gzip
import json
import tracemalloc
import zlib
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.content_encoding import codings_of, inflated
from shared.errors import BodyTooLarge, MalformedBody, UnsupportedEncoding
from tests.gateway.test_bad_input import is_problem

JSON = {"Content-Type": "application/json"}
BODY = b'{"inputs": "one"}'
LIMIT = 16 * 1024 * 1024


def bare_deflate(raw: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(raw) + deflater.flush()


@pytest.mark.usefixtures("predictor")
@pytest.mark.parametrize(
    ("sent", "encoding"),
    [
        pytest.param(gzip.compress(BODY), "gzip", id="gzip"),
        pytest.param(gzip.compress(BODY), "x-gzip", id="its old name"),
        pytest.param(gzip.compress(BODY), "GZip", id="upper case"),
        pytest.param(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "gzip", id="two members"),
        pytest.param(zlib.compress(BODY), "deflate", id="deflate"),
        pytest.param(bare_deflate(BODY), "deflate", id="deflate without its wrapping"),
        pytest.param(gzip.compress(zlib.compress(BODY)), "deflate, gzip", id="one over the other"),
        pytest.param(BODY, "identity", id="identity"),
        pytest.param(BODY, "", id="nothing"),
        pytest.param(codecs.BOM_UTF8 + BODY, "identity", id="a byte order mark"),
    ],
)
async def test_a_body_is_read_as_it_was_sent(
    client: httpx.AsyncClient, sent: bytes, encoding: str
) -> None:
    answer = await client.post(
        "/predict", content=sent, headers=JSON | {"Content-Encoding": encoding}
    )

    assert answer.json()["outputs"] == [{"echo": "one"}], answer.text


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip, gzip, gzip", "caf\xe9"])
async def test_another_encoding_is_named_beside_those_that_are_taken(
    client: httpx.AsyncClient, encoding: str
) -> None:
    headers = {
        b"Content-Encoding": encoding.encode("latin-1"),
        b"Content-Type": b"application/json",
    }

    answer = await client.post("/predict", content=BODY, headers=headers)

    assert is_problem(answer, 415, "unsupported_encoding"), answer.text
    assert answer.headers["accept-encoding"] == "gzip, deflate, identity"
    assert encoding.rpartition(", ")[2] in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "encoding", "told"),
    [
        pytest.param(gzip.compress(BODY)[:-9], "gzip", "ends too early", id="cut off"),
        pytest.param(b"", "gzip", "ends too early", id="empty"),
        pytest.param(BODY, "gzip", "incorrect header", id="plain"),
        pytest.param(gzip.compress(BODY)[:-8] + bytes(8), "gzip", "incorrect data", id="checksum"),
        pytest.param(gzip.compress(BODY) + b"more", "gzip", "incorrect header", id="garbage"),
        pytest.param(zlib.compress(BODY) + b"more", "deflate", "behind its end", id="more"),
        pytest.param(gzip.compress(b"") * 1_025, "gzip", "behind its end", id="many members"),
    ],
)
async def test_what_cannot_be_inflated_says_why(
    client: httpx.AsyncClient, sent: bytes, encoding: str, told: str
) -> None:
    answer = await client.post(
        "/predict", content=sent, headers=JSON | {"Content-Encoding": encoding}
    )

    assert is_problem(answer, 400, "malformed_body"), answer.text
    assert told in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        pytest.param(BODY.decode().encode("utf-16"), "UTF-8", id="UTF-16"),
        pytest.param(BODY.decode().encode("utf-16-be"), "UTF-8", id="UTF-16 without a mark"),
        pytest.param(BODY.decode().encode("utf-32"), "UTF-8", id="UTF-32"),
        pytest.param(gzip.compress(BODY), "Content-Encoding: gzip", id="gzip that nothing says"),
        pytest.param(codecs.BOM_UTF8 * 2 + BODY, "not JSON", id="two marks"),
    ],
)
async def test_a_body_that_is_no_utf8_is_told_what_to_be(
    client: httpx.AsyncClient, sent: bytes, told: str
) -> None:
    answer = await client.post("/predict", content=sent, headers=JSON)

    assert is_problem(answer, 400, "malformed_body"), answer.text
    assert told in answer.json()["detail"]


async def test_a_bomb_is_refused(client: httpx.AsyncClient) -> None:
    bomb = gzip.compress(json.dumps({"inputs": "x" * 50_000_000}).encode())

    answer = await client.post("/jobs", content=bomb, headers=JSON | {"Content-Encoding": "gzip"})

    assert is_problem(answer, 413, "body_too_large"), answer.text


async def test_a_bomb_is_never_inflated_beyond_the_limit() -> None:
    bomb = gzip.compress(gzip.compress(bytes(100_000_000), 1), 1)

    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        await inflated(bomb, ("gzip", "gzip"), most_bytes=LIMIT)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 2 * LIMIT


@given(
    raw=st.binary(max_size=2_000) | st.integers(0, 600_000).map(bytes),
    level=st.integers(0, 9),
    coding=st.sampled_from(["gzip", "deflate"]),
)
async def test_what_was_deflated_comes_back(raw: bytes, level: int, coding: str) -> None:
    sent = gzip.compress(raw, level) if coding == "gzip" else zlib.compress(raw, level)

    assert await inflated(sent, (coding,), most_bytes=600_000) == raw


@given(raw=st.binary(max_size=300), coding=st.sampled_from(["gzip", "deflate"]))
async def test_bytes_of_any_kind_are_inflated_or_refused(raw: bytes, coding: str) -> None:
    with suppress(MalformedBody, BodyTooLarge):
        assert isinstance(await inflated(raw, (coding,), most_bytes=1_000_000), bytes)


@given(header=st.binary(max_size=40))
def test_a_header_of_any_bytes_is_read_or_refused(header: bytes) -> None:
    with suppress(UnsupportedEncoding):
        assert set(codings_of(header)) <= {"gzip", "deflate"}
