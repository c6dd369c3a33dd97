"""``/openapi.json``: the framework's routes and the raw ones, in one truthful document.

The raw routes are described here from the same structs that decode and encode their bodies.
Every status, header and body that can occur is there; schemathesis holds us to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.gateway import schemas
from services.gateway.bodies import FIELDS, PART, PICTURES
from services.gateway.http.forms import FORM
from services.gateway.schemas import (
    JobRecord,
    LabelAnswer,
    PredictBody,
    Prediction,
    ServingWish,
)
from shared.contract import DEADLINE_LIMIT_MS
from shared.model_spec import AnyInput, ImageInput, Input, TableInput, TextInput

Json = dict[str, Any]

_DESCRIPTION: Final = """\
Predictions at once (`POST /predict`) or by job id (`POST /jobs`), over one durable queue.

A synchronous request is a job, too: when its wait runs out the answer is 202 with the job's
`Location`. `Prefer: wait=N` bounds the wait, `Prefer: respond-async` does without it. An
`Idempotency-Key` makes a POST safe to repeat. A body may be compressed: `Content-Encoding: gzip`
or `deflate`. Every error is RFC 9457 problem+json.
"""

_TAGS: Final = {
    "predictions": "Ask, and wait for the answer",
    "jobs": "Ask, and fetch the answer later",
    "models": "What can be asked",
    "one model": "The short routes of a service with one model; they are the default model's",
    "management": "What is served",
    "operations": "For probes, Prometheus and people who look",
}
_PARAMETERS: Final = {
    "name": "of a model, as `/models` has it",
    "version": "of the model, as `/models/{name}` has it",
    "id": "of the job, a UUID",
}
_STRUCTS: Final = (
    *(schemas.PredictBody, schemas.Prediction, schemas.JobRecord, schemas.ProblemBody),
    *(schemas.ModelInfo, schemas.ModelList, schemas.Labels, schemas.Health, schemas.Readiness),
    *(schemas.Status, schemas.HealthWord, schemas.LabelAnswer),
    *(schemas.ServingStatus, schemas.ServingWish),
)
_MEANINGS: Final[dict[int, str]] = {
    200: "The answer",
    202: "Accepted: the answer will be at `Location`",
    204: "Done",
    400: "The body is not what its media type says, or not UTF-8",
    401: "No key was shown, or another one",
    403: "Nobody may: the gateway has no admin key",
    404: "No such model or job",
    408: "The body did not arrive in time",
    409: "The job's state does not allow this, or it was canceled",
    413: "The body is too large",
    415: "The body's media type or encoding is not read here, or not for this model",
    422: "The request, or every input in it, cannot be served as it stands",
    429: "Too much is queued or open: try again after `Retry-After` seconds",
    500: "The model or the service failed",
    503: "Redis is away or the gateway is stopping: try again after `Retry-After` seconds",
    504: "The deadline passed before anything was computed",
}
_ANYWHERE: Final = (429, 500, 503)
_BODY_ERRORS: Final = (400, 404, 408, 413, 415, 422)
_ROW_ERRORS: Final = (409, 504)
_RETRY: Final = (429, 503)


def documented(
    answer: Any, *problems: int, accepted: type | None = None, always_open: bool = False
) -> dict[int | str, Json]:
    """The responses of one operation: its answer and the problems that can take its place.

    ``always_open`` are those that ask nobody and that the entrance lets through.
    """
    good = 204 if answer is None else 200
    responses: dict[int | str, Json] = {good: _response(good, answer)}
    if accepted is not None:
        responses[202] = _response(202, accepted)
    for status in sorted({*problems, *(() if always_open else _ANYWHERE)}):
        responses[status] = _response(status, schemas.ProblemBody, media="application/problem+json")
    return responses


@dataclass(frozen=True, slots=True)
class Bodies:
    """What a gateway reads, by the kinds of models that it serves."""

    max_inputs: int
    takes: frozenset[type[Input]]


def describe(app: FastAPI, *, version: str, bodies: Bodies) -> Callable[[], Json]:
    """What FastAPI serves under ``/openapi.json``; made when first asked for."""

    def openapi() -> Json:
        if not app.openapi_schema:
            document = get_openapi(
                title="Penstock", version=version, description=_DESCRIPTION, routes=app.routes
            )
            app.openapi_schema = _complete(document, bodies)
        return app.openapi_schema

    return openapi


def _complete(document: Json, bodies: Bodies) -> Json:
    for path in document["paths"].values():
        for operation in path.values():
            _drop_framework_validation(operation)
            _say_what_it_is(operation)
    change = document["paths"]["/models/{name}/serving"]["put"]
    change["requestBody"] = {"required": True, "content": _content(ServingWish, "application/json")}
    for path, operations in _raw_paths(_media(bodies)).items():
        document["paths"][path] = operations | document["paths"].get(path, {})
    document["components"] = {"schemas": _components(bodies)}
    document["tags"] = [{"name": name, "description": told} for name, told in _TAGS.items()]
    return document


def _drop_framework_validation(operation: Json) -> None:
    """FastAPI adds its own 422 wherever there is a parameter; ours are documented by name."""
    content = operation["responses"].get("422", {}).get("content", {})
    if "application/json" in content:
        del operation["responses"]["422"]


def _say_what_it_is(operation: Json) -> None:
    """FastAPI's summary is the function's name; what it does is in its docstring."""
    operation["summary"] = operation.pop("description").removesuffix(".")
    for parameter in operation.get("parameters", ()):
        parameter.setdefault("description", _PARAMETERS.get(parameter["name"]))


def _components(bodies: Bodies) -> Json:
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template=_REF + "{name}")
    body = components["PredictBody"]
    for name in ("inputs", "data"):
        body["properties"][name] |= _inputs(bodies)
    body["oneOf"] = [{"required": ["inputs"]}, {"required": ["data"]}]
    body["examples"] = [{"inputs": "what a film"}, {"inputs": ["one", "two"]}]
    return components


def _inputs(bodies: Bodies) -> Json:
    """Each form is of one kind of model, which refuses the others; `/models` says which."""
    most, forms = bodies.max_inputs, []
    if bodies.takes & {TextInput, ImageInput}:
        one = {"description": "a text, or a picture in base64", "type": "string"}
        forms += [one, _list_of(one, most)]
    if TableInput in bodies.takes:
        value = {"type": ["number", "null"]}  # null where the model lets a value be missing
        values = _list_of(value, most)
        named = {"type": "object", "additionalProperties": value}
        forms += [values, named, _list_of(values, most), _list_of(named, most)]
    if AnyInput in bodies.takes:
        forms.append({"description": "any JSON, for a model with Python of its own"})
    return {"anyOf": forms}


def _list_of(what: Json, most: int) -> Json:
    return {"type": "array", "items": what, "minItems": 1, "maxItems": most}


_REF: Final = "#/components/schemas/"


def _raw_paths(media: Json) -> Json:
    name, version = _path_parameter("name"), _path_parameter("version")
    return {
        "/predict": {"post": _predict(media, "predict", "Predict with the default model")},
        "/models/{name}/predict": {
            "post": _predict(media, "predict_with_model", "Predict with a named model", name)
        },
        "/models/{name}/versions/{version}/predict": {
            "post": _predict(
                media, "predict_with_version", "Predict with a version of a model", name, version
            )
        },
        "/predict/label": {
            "post": _predict(
                media, "predict_label", "The label alone, of the default model", answer=LabelAnswer
            )
        },
        "/jobs": {"post": _job(media, "create_job", "Queue a job")},
        "/models/{name}/jobs": {
            "post": _job(media, "create_job_for_model", "Queue a job for a named model", name)
        },
        "/jobs/{id}": {"put": _chosen_job(media)},
    }


def _predict(
    media: Json, operation: str, summary: str, *path: Json, answer: type = Prediction
) -> Json:
    responses = documented(answer, *_BODY_ERRORS, *_ROW_ERRORS, accepted=JobRecord)
    parameters = [*path, _header("Prefer", _PREFER), *_SUBMIT_HEADERS, _IDEMPOTENCY_KEY]
    return _operation(operation, summary, "predictions", media, parameters, responses)


def _job(media: Json, operation: str, summary: str, *path: Json) -> Json:
    responses = documented(JobRecord, *_BODY_ERRORS, accepted=JobRecord)
    del responses[200]
    parameters = [*path, *_SUBMIT_HEADERS, _IDEMPOTENCY_KEY]
    return _operation(operation, summary, "jobs", media, parameters, responses)


def _chosen_job(media: Json) -> Json:
    identity = _path_parameter("id") | {"schema": {"type": "string", "format": "uuid"}}
    responses = documented(JobRecord, *_BODY_ERRORS, accepted=JobRecord)
    summary = "Queue a job under an id of your own; again, the same job"
    return _operation(
        "create_job_with_id", summary, "jobs", media, [identity, *_SUBMIT_HEADERS], responses
    )


def _operation(
    name: str,
    summary: str,
    tag: str,
    media: Json,
    parameters: list[Json],
    responses: dict[int | str, Json],
) -> Json:
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": name,
        "parameters": parameters,
        "requestBody": {"required": True, "content": media},
        "responses": {str(status): response for status, response in responses.items()},
    }


def _media(bodies: Bodies) -> Json:
    """JSON for every model; for those of pictures also the file, or a form with files."""
    json = _content(PredictBody, "application/json")
    if ImageInput not in bodies.takes:
        return json
    file = {"type": "string", "format": "binary"}
    files = {
        "description": "the pictures; other names do, too",
        **_list_of(file, bodies.max_inputs),
    }
    _, known = msgspec.json.schema_components((PredictBody,))
    fields = known["PredictBody"]["properties"] | known["Parameters"]["properties"]
    parts = {PART: files, **{name: fields[name] for name in FIELDS}}
    form = {"type": "object", "properties": parts, "required": [PART]}
    return {
        **json,
        **{picture.decode(): {"schema": file} for picture in PICTURES},
        FORM.decode(): {"schema": form},
    }


def _response(status: int, answer: Any, *, media: str = "application/json") -> Json:
    headers = {"X-Request-Id": _text("the caller's, or one that was made")}
    if status in _RETRY:
        schema = {"type": "integer", "minimum": 1}
        headers["Retry-After"] = {"description": "seconds", "schema": schema}
    if status == 415:
        headers["Accept-Encoding"] = _text("the encodings that are read, where it was another")
    if status == 202:
        headers["Location"] = _text("where the job is")
    response: Json = {"description": _MEANINGS[status], "headers": headers}
    if answer is not None:
        response["content"] = _content(answer, media)
    return response


def _content(answer: Any, media: str) -> Json:
    (schema,), _ = msgspec.json.schema_components((answer,), ref_template=_REF + "{name}")
    return {media: {"schema": schema}}


def _text(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _path_parameter(name: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _PARAMETERS[name],
        "schema": {"type": "string"},
    }


def _header(name: str, description: str, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema or {"type": "string"},
    }


_PREFER: Final = "RFC 7240: `wait=SECONDS`, `respond-async`"
_IDEMPOTENCY_KEY: Final = _header(
    "Idempotency-Key",
    "the same key and payload again are the same job",
    {"type": "string", "pattern": "^[ -~]{1,255}$"},
)
_SUBMIT_HEADERS: Final = (
    _header(
        "X-Deadline-Ms",
        "`deadline_ms` for bodies that have none",
        {"type": "integer", "minimum": 1, "maximum": DEADLINE_LIMIT_MS},
    ),
    _header("X-Request-Id", "echoed, and in every log line of the request"),
    _header("traceparent", "W3C trace context; travels with the job"),
)
