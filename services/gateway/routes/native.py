"""The hot routes: predictions and new jobs. Raw ASGI, decoded by msgspec."""

from starlette.routing import Route

from services.gateway.admission import Admission, Ask
from services.gateway.asgi import Answer, BodyLimits, Call, Endpoint
from services.gateway.bodies import read_body
from services.gateway.dispatch import Dispatch
from services.gateway.large_work import LargeWork
from services.gateway.metrics import Metrics
from services.gateway.problems import answer_to, note_refusal
from shared.contract import Lane
from shared.errors import ServiceError


class NativeRoutes:
    """``POST …/predict``, ``POST …/jobs`` and ``PUT /jobs/{id}``."""

    def __init__(
        self,
        admission: Admission,
        dispatch: Dispatch,
        *,
        body: BodyLimits,
        max_inputs: int,
        metrics: Metrics,
        large_work: LargeWork,
    ) -> None:
        self._admission = admission
        self._dispatch = dispatch
        self._body = body
        self._max_inputs = max_inputs
        self._metrics = metrics
        self._large_work = large_work

    def routes(self) -> list[Route]:
        predict, jobs = Endpoint(self.predict), Endpoint(self.enqueue)
        return [
            Route("/predict", predict, methods=["POST"]),
            Route("/models/{name}/predict", predict, methods=["POST"]),
            Route("/models/{name}/versions/{version}/predict", predict, methods=["POST"]),
            Route("/jobs", jobs, methods=["POST"]),
            Route("/models/{name}/jobs", jobs, methods=["POST"]),
            Route("/jobs/{id}", Endpoint(self.create), methods=["PUT"]),
        ]

    async def predict(self, call: Call) -> Answer:
        try:
            ask = await self._admit(call, Lane.INTERACTIVE)
            answer = await self._dispatch.predict(ask, call)
        except ServiceError as error:
            return self._refusal(error, call)
        return with_preference(answer, ask)

    async def enqueue(self, call: Call) -> Answer:
        return await self._enqueue(call, repeat_status=202)

    async def create(self, call: Call) -> Answer:
        return await self._enqueue(call, repeat_status=200)

    async def _enqueue(self, call: Call, *, repeat_status: int) -> Answer:
        try:
            ask = await self._admit(call, Lane.BULK)
            return await self._dispatch.enqueue(ask, call, repeat_status=repeat_status)
        except ServiceError as error:
            return self._refusal(error, call)

    async def _admit(self, call: Call, lane: Lane) -> Ask:
        sent = await read_body(
            call, self._body, max_inputs=self._max_inputs, large_work=self._large_work
        )
        return await self._admission.admit(call, sent, lane=lane)

    def _refusal(self, error: ServiceError, call: Call) -> Answer:
        answer = answer_to(error, instance=call.path)
        self._metrics.ended(None, error.code)
        note_refusal(error, path=call.path, status=answer.status)
        return answer


def with_preference(answer: Answer, ask: Ask) -> Answer:
    applied = ask.preferences.applied
    if not applied:
        return answer
    headers = (*answer.headers, (b"preference-applied", applied))
    return Answer(answer.status, answer.body, answer.media, headers)
