"""What a request asks for, checked: everything that can be said before any work is done.

Pure but for making ids. Knows the catalogue and the limits; nothing of Redis.
"""

import re
import uuid
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import UNSET

from services.gateway import bodies
from services.gateway.asgi import Call
from services.gateway.bodies import Body
from services.gateway.large_work import LARGE_BYTES, LargeWork
from services.gateway.preferences import Preferences, WaitLimits, read_preferences
from services.gateway.schemas import Parameters, PredictBody
from services.preprocess.codecs import Codec
from shared.catalogue import Catalogue
from shared.contract import DEADLINE_LIMIT_MS, ONLY_TENANT, JobId, Lane, ModelKey, Tenant
from shared.errors import InvalidRequest, JobNotFound, TooManyInputs, UnsupportedMediaType
from shared.model_spec import ImageInput, ModelSpec

_IDS: Final = uuid.UUID("6f0d2ad6-6a3c-5b0e-9d2a-1c6c4b1f6c55")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MILLISECONDS: Final = re.compile(rb"[1-9][0-9]{0,9}")

_PIECE_CHARACTERS: Final = 64 * 1024

_encode = msgspec.msgpack.Encoder().encode


class Ask(msgspec.Struct, frozen=True):
    """An admitted request: what is predicted, for whom, under which id."""

    id: JobId
    repeatable: bool
    """The caller can ask for it again under the same id: it outlives the connection."""
    spec: ModelSpec
    inputs: list[Any]
    """As the model's codec reads them."""
    parameters: Parameters
    lane: Lane
    tenant: Tenant
    deadline_ms: int | None
    fingerprint: bytes
    preferences: Preferences
    trace: str
    revision: int
    """Of the catalogue that it was admitted by."""


class Admission:
    """Turns calls into asks, or refuses them."""

    def __init__(
        self,
        catalogue: Catalogue,
        codecs: Mapping[ModelKey, Codec],
        *,
        max_inputs: int,
        waits: WaitLimits,
        large_work: LargeWork,
    ) -> None:
        self._catalogue = catalogue
        self._codecs = codecs
        self._max_inputs = max_inputs
        self._waits = waits
        self._large_work = large_work

    async def admit(self, call: Call, sent: Body, *, lane: Lane) -> Ask:
        """Check body, headers and path.

        Raises:
            InvalidRequest, MalformedBody, TooManyInputs, UnknownModel, UnsupportedMediaType
        """
        with self._catalogue.holding() as revision:
            return await self._admitted(call, sent, lane, revision)

    async def _admitted(self, call: Call, sent: Body, lane: Lane, revision: int) -> Ask:
        body = sent.fields
        name, version = _model_of(call, body)
        job_id, repeatable = _job_id(call)
        spec = self._catalogue.find(name, version, sticky=_sticky(call, job_id, repeatable))

        def read() -> tuple[list[Any], bytes]:
            inputs = self._inputs(sent, spec)
            return inputs, fingerprint(name, version, inputs, body.parameters)

        large = sent.size_bytes > LARGE_BYTES
        inputs, asked = await self._large_work.run(read) if large else read()
        trace = call.headers.get(b"traceparent", b"")
        return Ask(
            id=job_id,
            repeatable=repeatable,
            spec=spec,
            inputs=inputs,
            parameters=body.parameters,
            lane=Lane(body.lane) if body.lane else lane,
            tenant=ONLY_TENANT,
            deadline_ms=body.deadline_ms or _deadline_ms(call) or spec.max_queue_ms,
            fingerprint=asked,
            preferences=self.preferences(call),
            trace=trace.decode() if _TRACEPARENT.fullmatch(trace) else "",
            revision=revision,
        )

    def sample(self, name: str, call: Call) -> Ask:
        """The model's own sample input, as a request.

        Raises:
            UnknownModel
        """
        spec = self._catalogue.find(name, None)
        parameters = Parameters(truncate=True)
        inputs = self._codecs[spec.key].read(msgspec.json.encode(spec.sample))
        return Ask(
            id=_new_id(),
            repeatable=False,
            spec=spec,
            inputs=inputs,
            parameters=parameters,
            lane=Lane.INTERACTIVE,
            tenant=ONLY_TENANT,
            deadline_ms=spec.max_queue_ms,
            fingerprint=fingerprint(name, None, inputs, parameters),
            preferences=self.preferences(call),
            trace="",
            revision=self._catalogue.revision,
        )

    def preferences(self, call: Call) -> Preferences:
        return read_preferences(call.headers.get(b"prefer"), self._waits)

    def _inputs(self, sent: Body, spec: ModelSpec) -> list[Any]:
        inputs = self._files(sent, spec) if sent.files else self._given(sent.fields, spec)
        if len(inputs) > self._max_inputs:
            raise TooManyInputs(len(inputs), self._max_inputs)
        return inputs

    def _files(self, sent: Body, spec: ModelSpec) -> list[Any]:
        if not isinstance(spec.takes, ImageInput):
            raise UnsupportedMediaType(
                f"model {spec.key.name} is for {spec.task}, and takes no files: send its inputs as "
                "application/json"
            )
        return list(sent.files)

    def _given(self, body: PredictBody, spec: ModelSpec) -> list[Any]:
        if (body.inputs is UNSET) == (body.data is UNSET):
            raise InvalidRequest(
                "body has both inputs and data: send one of them"
                if body.data is not UNSET
                else "body has no inputs: send one, or a list of them"
            )
        at, given = ("data", body.data) if body.inputs is UNSET else ("inputs", body.inputs)
        assert not isinstance(given, msgspec.UnsetType)
        try:
            return self._codecs[spec.key].read(given)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            bodies.refuse(exc, given, at=at)


def fingerprint(
    name: str | None, version: str | None, inputs: list[Any], parameters: Parameters
) -> bytes:
    """16 bytes of what was asked for; two requests under one id are twins when these agree."""
    short = [_short(one) for one in inputs]
    asked = (name, version, short, parameters.top_k, parameters.truncate)
    try:
        return blake2b(_encode(asked), digest_size=16).digest()
    except OverflowError:
        raise InvalidRequest("an input has an integer beyond 64 bits: send a float") from None


def _short(given: Any) -> Any:
    """Itself or, of a text of megabytes, its digest.

    Made in pieces: one call that encodes 16 MB keeps the interpreter's lock for 60 ms.
    """
    if not isinstance(given, str) or len(given) <= _PIECE_CHARACTERS:
        return given
    digest = blake2b(digest_size=32)
    for start in range(0, len(given), _PIECE_CHARACTERS):
        digest.update(given[start : start + _PIECE_CHARACTERS].encode())
    return digest.digest()


def existing_id(text: str) -> JobId:
    """An id in a path, of a job that should be there.

    Raises:
        JobNotFound: it is no UUID, so no job has it
    """
    if not _UUID.fullmatch(text):
        raise JobNotFound(text[:64])
    return JobId(text.lower())


def _model_of(call: Call, body: PredictBody) -> tuple[str | None, str | None]:
    """Name and version as they were asked for, in the path or in the body."""
    name, version = call.path_params.get("name"), call.path_params.get("version")
    for what, path, named in (("model", name, body.model), ("version", version, body.version)):
        if path is not None and named is not None and path != named:
            raise InvalidRequest(
                f"body has {what} {named[:64]!r}, the path {path[:64]!r}: name it once"
            )
    return name or body.model, version or body.version


def _job_id(call: Call) -> tuple[JobId, bool]:
    chosen = call.path_params.get("id")
    if chosen is not None:
        if not _UUID.fullmatch(chosen):
            raise InvalidRequest(f"id {chosen[:64]!r} is no UUID: choose one, or POST to /jobs")
        return JobId(chosen.lower()), True
    key = call.headers.get(b"idempotency-key")
    if key is None:
        return _new_id(), False
    bare = key[1:-1] if key[:1] == key[-1:] == b'"' else key
    if not _KEY.fullmatch(bare):
        raise InvalidRequest(
            f"Idempotency-Key has {len(bare)} bytes: send 1 to 255 printable ASCII characters"
        )
    return JobId(str(uuid.uuid5(_IDS, f"{ONLY_TENANT}\n{bare.decode()}"))), True


def _sticky(call: Call, job_id: JobId, repeatable: bool) -> str:
    """Whose requests go to one version where traffic is split: a key's, a caller's."""
    if repeatable:
        return job_id
    shown = call.headers.get(b"authorization") or call.headers.get(b"x-api-key") or b""
    return shown.decode("latin-1")


def _new_id() -> JobId:
    return JobId(str(uuid.uuid4()))


def _deadline_ms(call: Call) -> int | None:
    header = call.headers.get(b"x-deadline-ms")
    if header is None:
        return None
    if not _MILLISECONDS.fullmatch(header) or int(header) > DEADLINE_LIMIT_MS:
        raise InvalidRequest(
            f"X-Deadline-Ms is {header[:20].decode('latin-1')!r}: "
            f"send milliseconds from 1 to {DEADLINE_LIMIT_MS}"
        )
    return int(header)
