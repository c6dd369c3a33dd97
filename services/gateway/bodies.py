"""What a request's body says, in whichever media type: JSON, a picture, a form with pictures.

Knows media types and fields; what the inputs must look like is the model's codec's to say.
"""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from services.gateway.asgi import JSON, BodyLimits, Call
from services.gateway.http.forms import FORM, Part, read_parts
from services.gateway.large_work import LARGE_BYTES, LargeWork
from services.gateway.schemas import PredictBody
from services.preprocess.picture import looks_like_picture
from shared.errors import InvalidRequest, MalformedBody, UnsupportedMediaType

T = TypeVar("T")

PICTURES: Final = (b"image/png", b"image/jpeg", b"image/webp", b"application/octet-stream")
"""What a file is called; which it is, its first bytes say."""
_WRONG_NAMES: Final = (b"image/jpg", b"image/pjpeg", b"image/x-png")
PART: Final = "image"
"""The name of a picture in a form."""

_PARAMETERS: Final = ("top_k", "truncate")
FIELDS: Final = ("model", "version", "deadline_ms", "lane", *_PARAMETERS)
"""What a form may have besides files."""
_LONGEST_FIELD_BYTES: Final = 1_024
_NAMES: Final = b", ".join(PICTURES).decode()
_GZIP: Final = b"\x1f\x8b"
_HALF_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_PAIR_BYTES: Final = len(rb"\ud83d\ude00")
_PLACE: Final = re.compile(r"\(byte (\d+)\)$")
"""Where msgspec stopped; it says none where the body has ended."""

_decode: Final = msgspec.json.Decoder(PredictBody).decode


class Body(msgspec.Struct, frozen=True):
    """What was sent: the fields of the JSON body, and the files of the others."""

    fields: PredictBody
    files: tuple[bytes, ...] = ()
    size_bytes: int = 0
    """Of the whole of it."""


async def read_body(
    call: Call, limits: BodyLimits, *, max_inputs: int, large_work: LargeWork
) -> Body:
    """The whole body.

    Raises:
        UnsupportedMediaType, BodyTooLarge, BodyTooSlow, MalformedBody, InvalidRequest, CallerLeft
    """
    declared = call.headers.get(b"content-type")
    if declared is None or declared == JSON:
        return await _read_fields(await call.body(limits), large_work)
    media = declared.partition(b";")[0].strip().lower()
    if media in PICTURES or media in _WRONG_NAMES:
        raw = await call.body(limits)
        return Body(PredictBody(), (raw,), size_bytes=len(raw))
    if media == FORM:
        return await _read_form(await call.body(limits), declared, max_inputs=max_inputs)
    if media == JSON or (media.startswith(b"application/") and media.endswith(b"+json")):
        return await _read_fields(await call.body(limits), large_work)
    raise UnsupportedMediaType(
        f"body is {declared[:64].decode('latin-1')!r}, this route reads application/json, and for "
        f"models of pictures {_NAMES} and multipart/form-data: say in Content-Type which of them "
        "it is"
    )


async def _read_fields(raw: bytes, large_work: LargeWork) -> Body:
    large = len(raw) > LARGE_BYTES
    fields = await large_work.run(partial(read_json, raw)) if large else read_json(raw)
    return Body(fields, size_bytes=len(raw))


def read_json(raw: bytes) -> PredictBody:
    """The fields of a JSON body, or what is wrong with it and where.

    Raises:
        MalformedBody: it is no JSON
        InvalidRequest: it is JSON of another form
    """
    return decoded(_decode, raw)


def decoded(decode: Callable[[bytes], T], raw: bytes) -> T:
    """What ``decode`` makes of a JSON body, with or without a byte order mark.

    Raises:
        MalformedBody: it is no JSON
        InvalidRequest: it is JSON of another form
    """
    raw = raw.removeprefix(BOM_UTF8)  # Windows' tools write it; JSON has none (RFC 8259, 8.1)
    try:
        return decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or 0 in raw[:2]:
            raise MalformedBody("body is UTF-16 or UTF-32: send JSON in UTF-8") from None
        if raw.startswith(_GZIP):
            raise MalformedBody("body is gzip: say so with Content-Encoding: gzip") from None
        refuse(exc, raw)


def refuse(why: Exception, raw: bytes, *, at: str = "") -> NoReturn:
    """Say what is wrong with JSON that could not be decoded; ``at`` names the part of the body.

    Raises:
        MalformedBody, InvalidRequest
    """
    if isinstance(why, msgspec.ValidationError):
        message = str(why)
        if at:
            message = (
                message.replace("`$", f"`$.{at}") if "`$" in message else f"{message} - at `$.{at}`"
            )
        raise InvalidRequest(f"body does not have the documented form: {message}") from None
    if isinstance(why, RecursionError):
        raise InvalidRequest("body is nested far too deeply: send the documented form") from None
    if isinstance(why, UnicodeDecodeError):
        raise MalformedBody(f"body is not UTF-8 ({why.reason}): send JSON in UTF-8") from None
    if half := _half_pair(why, raw):
        raise InvalidRequest(
            f"a text has half of a surrogate pair, {half[0].decode()} at byte {half.start()}: "
            "send valid Unicode"
        ) from None
    raise MalformedBody(f"body of {len(raw)} bytes is not JSON: {why}") from None


def _half_pair(why: Exception, raw: bytes) -> re.Match[bytes] | None:
    """Where the decoder stopped: all of a body of 16 MB is a second's search, on the loop."""
    place = _PLACE.search(str(why))
    stopped = int(place[1]) if place else len(raw)
    return _HALF_PAIR.search(raw, max(stopped - _PAIR_BYTES, 0), stopped + _PAIR_BYTES)


async def _read_form(raw: bytes, content_type: bytes, *, max_inputs: int) -> Body:
    """Files are pictures, whatever their parts are called; so is what comes without a file name."""
    fields: dict[str, Any] = {}
    files: list[bytes] = []
    for part in await read_parts(
        raw, content_type, most_inputs=max_inputs, most_fields=len(FIELDS)
    ):
        if part.is_file or part.name == PART or looks_like_picture(part.content):
            files.append(part.content)
        elif part.name in FIELDS:
            fields[part.name] = _text_of(part)
        else:
            raise InvalidRequest(
                f"form has a part named {part.name[:64]!r}: send files as {PART}, and with them "
                f"{', '.join(FIELDS)} if you like"
            )
    if not files:
        raise InvalidRequest(f"form has no picture: send one as a file, in a part named {PART}")
    return Body(_fields(fields), tuple(files), size_bytes=len(raw))


def _text_of(part: Part) -> str:
    if len(part.content) > _LONGEST_FIELD_BYTES:
        raise InvalidRequest(
            f"form has {len(part.content)} bytes in its part {part.name}, at most "
            f"{_LONGEST_FIELD_BYTES} are taken: send a file with a file name"
        )
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        raise MalformedBody(f"form's part {part.name} is not UTF-8: send it in UTF-8") from None


def _fields(fields: dict[str, Any]) -> PredictBody:
    parameters = {name: fields.pop(name) for name in _PARAMETERS if name in fields}
    try:
        return msgspec.convert(fields | {"parameters": parameters}, PredictBody, strict=False)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(f"form does not have the documented fields: {exc}") from None
