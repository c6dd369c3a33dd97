"""The catalogue: which models there are, what they take, and whether they work."""

from typing import Final

from fastapi import APIRouter, Request, Response

from services.gateway.admission import Admission
from services.gateway.asgi import Call
from services.gateway.dispatch import Dispatch
from services.gateway.openapi import documented
from services.gateway.routes.native import with_preference
from services.gateway.routes.replying import as_response, json_of
from services.gateway.schemas import JobRecord, Labels, Limits, ModelInfo, ModelList, Prediction
from shared.catalogue import Catalogue
from shared.model_spec import AnyInput, ImageInput, ModelSpec, Scoring, TableInput, Task, TextInput

_OUTPUTS: Final = {
    Scoring.SOFTMAX: "the likeliest label and its score; with top_k more of them in `top`",
    Scoring.SIGMOID: "the likeliest label and its score; in `labels` all whose score is over "
    "`threshold`; with top_k more in `top`, over it or not",
    Scoring.PROBABILITIES: "the likeliest label and its score; with top_k more of them in `top`",
    Scoring.IDENTITY: "the label of the highest value, and in `score` that value as the model "
    "gives it; of several values each by label, in `scores`",
}


def model_routes(
    catalogue: Catalogue, admission: Admission, dispatch: Dispatch, *, max_inputs: int
) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/models", responses=documented(ModelList))
    async def list_models() -> Response:
        """Every model that can be asked for."""
        names = [name for name in catalogue.names() if catalogue.versions(name)]
        models = [describe_model(catalogue, name, max_inputs) for name in names]
        return json_of(ModelList(default=catalogue.default.key.name, models=models))

    @router.get("/models/{name}", responses=documented(ModelInfo, 404))
    async def show_model(name: str) -> Response:
        """What a model takes and answers."""
        return json_of(describe_model(catalogue, name, max_inputs))

    @router.get("/models/{name}/labels", responses=documented(Labels, 404))
    async def list_labels(name: str) -> Response:
        """The labels, in the order of the model's outputs."""
        spec = catalogue.usual(name)
        return json_of(Labels(spec.key.name, spec.key.version, list(spec.labels)))

    @router.get(
        "/models/{name}/test",
        responses=documented(Prediction, 404, 409, 422, 429, 500, 503, 504, accepted=JobRecord),
    )
    async def test_model(name: str, request: Request) -> Response:
        """Predict the model's own sample, through the queue and a predictor and back."""
        call = Call(request.scope, request.receive)
        ask = admission.sample(name, call)
        return as_response(with_preference(await dispatch.predict(ask, call), ask))

    return router


def describe_model(catalogue: Catalogue, name: str, max_inputs: int) -> ModelInfo:
    """What the outside is told of a model."""
    spec = catalogue.usual(name)
    return ModelInfo(
        name=spec.key.name,
        version=spec.key.version,
        versions=[other.key.version for other in catalogue.versions(name)],
        task=spec.task,
        description=spec.description,
        licence=spec.licence,
        labels=list(spec.labels),
        scoring=spec.scoring,
        threshold=spec.threshold if spec.labels and spec.scoring is Scoring.SIGMOID else None,
        limits=_limits(spec, max_inputs),
        features=list(spec.takes.features) if isinstance(spec.takes, TableInput) else [],
        missing=list(spec.takes.missing) if isinstance(spec.takes, TableInput) else [],
        input=_input(spec),
        output=_output(spec),
        sample=spec.sample,
    )


def _limits(spec: ModelSpec, max_inputs: int) -> Limits:
    match spec.takes:
        case TextInput(max_tokens=tokens, max_characters=characters):
            return Limits(max_inputs, max_tokens=tokens, max_characters=characters)
        case ImageInput(max_pixels=pixels):
            return Limits(max_inputs, max_pixels=pixels)
        case TableInput() | AnyInput():
            return Limits(max_inputs)


def _input(spec: ModelSpec) -> str:
    match spec.takes:
        case TextInput(pairs=True):
            return "a pair of texts, which is not taken yet; single texts with pairs = false"
        case TextInput():
            return "a text, or a list of texts"
        case ImageInput(width=width, height=height, color=color):
            return (
                f"a PNG, JPEG or WebP picture, scaled to {width} x {height} ({color}): in base64, "
                "or a list of them; or the file itself as the body or in multipart/form-data"
            )
        case TableInput(missing=missing):
            null = "; null where a value is missing" if missing else ""
            return (
                "a list of numbers, one for each feature, or an object by feature; or a list of "
                f"them{null}"
            )
        case AnyInput():
            return "any JSON that the model's own encode takes; a list is several inputs"


def _output(spec: ModelSpec) -> str:
    match spec.task:
        case Task.ECHO:
            return "the text itself, in `echo`"
        case Task.SENTENCE_EMBEDDING:
            return "one vector, in `embedding`"
        case Task.CUSTOM:
            return "what the model's own decode makes of it"
        case _:
            return _OUTPUTS[spec.scoring]
