"""An answer of ours as a response of the framework's, for the routes that are not hot."""

from collections.abc import Awaitable

import msgspec
from fastapi import Response

from services.gateway.asgi import Answer

_encode = msgspec.json.Encoder().encode


async def respond(answer: Awaitable[Answer]) -> Response:
    return as_response(await answer)


def as_response(answer: Answer) -> Response:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    media = answer.media.decode() if answer.body else None
    return Response(answer.body, answer.status, headers, media_type=media)


def json_of(value: object, *, status: int = 200) -> Response:
    return as_response(Answer(status, _encode(value)))
