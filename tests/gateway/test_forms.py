"""Forms: what clients send, what hypothesis makes of it, and what is none."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.asgi import BodyLimits, Call
from services.gateway.bodies import Body, read_body
from services.gateway.http.forms import Part, read_parts
from services.gateway.large_work import LargeWork
from shared.errors import InvalidRequest, MalformedBody, ServiceError, TooManyInputs

CONTENT_TYPE = b"multipart/form-data; boundary=b"
PNG = b"\x89PNG and so on"


def form(*parts: tuple[str, bytes]) -> bytes:
    """Each part's Content-Disposition behind ``form-data; ``, and its content."""
    return (
        b"".join(
            b"--b\r\nContent-Disposition: form-data; "
            + told.encode()
            + b"\r\n\r\n"
            + content
            + b"\r\n"
            for told, content in parts
        )
        + b"--b--\r\n"
    )


def sent(raw: bytes, content_type: bytes = CONTENT_TYPE) -> Body:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    scope = {"raw_path": b"/predict", "headers": [(b"content-type", content_type)]}
    call = Call(scope, receive)
    return asyncio.run(
        read_body(call, BodyLimits(16_000_000, 1.0), max_inputs=3, large_work=LargeWork())
    )


def test_parts_keep_their_order_and_their_bytes() -> None:
    request = httpx.Request(
        "POST",
        "http://gateway",
        files=[("image", ("a.png", PNG)), ("größe", ("b", b"\r\n--b\r\n")), ("c", (None, b"\xff"))],
    )

    parts = asyncio.run(
        read_parts(request.read(), request.headers["content-type"].encode(), most_inputs=10)
    )

    assert parts == [
        Part("image", is_file=True, content=PNG),
        Part("größe", is_file=True, content=b"\r\n--b\r\n"),
        Part("c", is_file=False, content=b"\xff"),
    ]


@given(
    contents=st.lists(
        st.binary(max_size=60)
        | st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b"])).map(b"".join),
        max_size=4,
    )
)
def test_what_was_put_into_a_form_comes_out_of_it(contents: list[bytes]) -> None:
    parts = [("name=x", content) for content in contents if b"\r\n--b" not in b"\r\n" + content]
    around = b"before\r\n" + form(*parts) + b"behind"

    read = asyncio.run(read_parts(around, CONTENT_TYPE, most_inputs=10))

    assert [part.content for part in read] == [content for _, content in parts]


@given(raw=st.lists(st.sampled_from([b"\r\n", b"--b", b"--", b"x", b": ", b"name"])).map(b"".join))
def test_what_is_no_form_is_refused_in_words(raw: bytes) -> None:
    try:
        asyncio.run(read_parts(raw, CONTENT_TYPE, most_inputs=10))
    except MalformedBody as refused:
        told = refused.detail
    else:
        told = "is no multipart/form-data" if b"--b--" in raw else ""

    assert "is no multipart/form-data" in told


@pytest.mark.parametrize(
    ("raw", "content_type", "told"),
    [
        (form(), b"multipart/form-data", "no boundary"),
        (b"", CONTENT_TYPE, "no last boundary"),
        (form(("name=x", b"y"))[:-6], CONTENT_TYPE, "no last boundary"),
        (b"--b\r\nX: y\r\n\r\n\r\n--b--", CONTENT_TYPE, "no name in its Content-Disposition"),
        (form(("filename=x", b"y")), CONTENT_TYPE, "no name in its Content-Disposition"),
        (
            b"--b\r\nX: " + b"y" * 9_000 + b"\r\n--b--",
            CONTENT_TYPE,
            "headers of a part have no end",
        ),
        (b"--bc\r\n\r\n--b--", CONTENT_TYPE, "has more behind it"),
        (form((f"{'a=b;' * 33}name=image", PNG)), CONTENT_TYPE, "34 options, at most 32"),
        (form(("name=image", PNG)), b"multipart/form-data; " + b"a=b;" * 33 + b"boundary=b", "34"),
        (
            form(("name=image", PNG)),
            b"multipart/form-data; a=" + b"a" * 1_024 + b"; boundary=b",
            "Content-Type has 1059 bytes, at most 1024",
        ),
    ],
)
def test_a_broken_form_says_where(raw: bytes, content_type: bytes, told: str) -> None:
    with pytest.raises(MalformedBody, match=told):
        sent(raw, content_type)


@pytest.mark.parametrize(
    "told", ["name=image", 'name="image"; filename="a.png"', "name=x; filename=", "name=upload"]
)
def test_a_picture_needs_no_name_of_ours(told: str) -> None:
    body = sent(form((told, PNG), ("name=top_k", b"3")))

    assert body.files == (PNG,)
    assert body.fields.parameters.top_k == 3


@pytest.mark.parametrize(
    ("parts", "told", "kind"),
    [
        ([("name=photo", b"none")], "a part named 'photo'", InvalidRequest),
        ([("name=model", b"x")], "form has no picture", InvalidRequest),
        ([("name=model", b"x" * 1_025)], "1025 bytes in its part model", InvalidRequest),
        ([("name=model", b"\xff")], "part model is not UTF-8", MalformedBody),
        ([("name=image", PNG), ("name=top_k", b"x")], "documented fields", InvalidRequest),
        ([("name=image", PNG)] * 20, "at most 3 are taken", TooManyInputs),
    ],
)
def test_a_form_that_cannot_be_served_says_why(
    parts: list[tuple[str, bytes]], told: str, kind: type[ServiceError]
) -> None:
    with pytest.raises(kind, match=told):
        sent(form(*parts))


async def test_ten_thousand_parts_do_not_hold_the_loop() -> None:
    """The loop gets its turn again and again: hundreds of times, not once at the end."""
    raw = form(*[('name=image; filename=""', b"")] * 10_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count())
        started = time.process_time()
        parts = await read_parts(raw, CONTENT_TYPE, most_inputs=10_000)
        spent_s = time.process_time() - started
        counting.cancel()

    assert len(parts) == 10_000
    assert turns > 100
    assert spent_s < 2.0
