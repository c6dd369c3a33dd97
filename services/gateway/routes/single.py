"""The short routes of a web service with one model, for the default one.

As in the web-single pattern: whoever has such a service can move here. All other routes say more.
"""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from services.gateway.admission import Admission
from services.gateway.asgi import Answer, Call
from services.gateway.dispatch import Dispatch
from services.gateway.openapi import documented
from services.gateway.routes.models import describe_model
from services.gateway.routes.native import NativeRoutes, with_preference
from services.gateway.routes.replying import as_response, json_of
from services.gateway.schemas import (
    HealthWord,
    JobRecord,
    LabelAnswer,
    ModelInfo,
    Prediction,
)
from shared.catalogue import Catalogue

_encode = msgspec.json.Encoder().encode
_TESTED = (404, 409, 422, 429, 500, 503, 504)


def single_routes(
    catalogue: Catalogue, admission: Admission, dispatch: Dispatch, *, max_inputs: int
) -> APIRouter:
    router = APIRouter(tags=["one model"])

    @router.get("/health", responses=documented(HealthWord))
    async def health() -> Response:
        """It answers."""
        return json_of(HealthWord("ok"))

    @router.get("/metadata", responses=documented(ModelInfo))
    async def metadata() -> Response:
        """What the default model takes and answers."""
        return json_of(describe_model(catalogue, catalogue.default.key.name, max_inputs))

    @router.get("/label", responses=documented(dict[str, str]))
    async def label() -> Response:
        """The default model's labels, by the number of its output."""
        return json_of({str(n): name for n, name in enumerate(catalogue.default.labels)})

    @router.get("/predict/test", responses=documented(Prediction, *_TESTED, accepted=JobRecord))
    async def predict_test(request: Request) -> Response:
        """The default model's own sample, predicted."""
        return as_response(await test(request))

    @router.get(
        "/predict/test/label", responses=documented(LabelAnswer, *_TESTED, accepted=JobRecord)
    )
    async def predict_test_label(request: Request) -> Response:
        """The label of the default model's own sample."""
        return as_response(label_of(await test(request)))

    async def test(request: Request) -> Answer:
        call = Call(request.scope, request.receive)
        ask = admission.sample(catalogue.default.key.name, call)
        return with_preference(await dispatch.predict(ask, call), ask)

    return router


class LabelRoute:
    """``POST /predict/label``: as ``/predict``, and the labels alone come back."""

    def __init__(self, native: NativeRoutes) -> None:
        self._native = native

    async def answer(self, call: Call) -> Answer:
        return label_of(await self._native.predict(call))


def label_of(answer: Answer) -> Answer:
    """The labels of a prediction; any other answer as it is."""
    if answer.status != 200:
        return answer
    outputs: list[dict[str, Any]] = msgspec.json.decode(answer.body)["outputs"]
    labels = [output.get("label") for output in outputs]
    body = _encode(LabelAnswer(labels[0] if len(labels) == 1 else labels))
    return Answer(answer.status, body, answer.media, answer.headers)
