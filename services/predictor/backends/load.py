"""Make the backend that a model asks for; torch is imported only when one needs it."""

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.trial import tried_out
from shared.errors import DeviceLost
from shared.model_spec import ModelRefused, ModelSpec, Task, TextInput


def load_backend(spec: ModelSpec, *, device: str, dtype: str, threads: int, pack: bool) -> Backend:
    """Load the model's weights onto its device, and try it out.

    Raises:
        UnknownBackend: naming the ones there are; or what the model's file should say
        DeviceLost: nothing can be loaded on it
    """
    try:
        backend = _load(spec, device=device, dtype=dtype, threads=threads, pack=pack)
        return tried_out(backend, spec)
    except (UnknownBackend, ModelRefused, DeviceLost):
        raise
    except Exception as exc:  # the wall: a library or a model raises what it likes
        if type(exc).__name__ == "AcceleratorError":  # torch's, which need not be here
            raise DeviceLost(f"the device does not answer: {exc}") from exc
        if "OutOfMemory" in type(exc).__name__:
            raise UnknownBackend(
                f"{spec.folder}: {device} has no room for the model: serve fewer there, give "
                "it a larger device or, on a GPU, set PENSTOCK_PREDICTOR_DTYPE=bfloat16"
            ) from exc
        said = " ".join(str(exc).split())
        raise UnknownBackend(
            f"{spec.folder}: the model cannot be loaded: {type(exc).__name__}: {said}: see that "
            "what lies there is what its model.toml says"
        ) from exc


def _load(spec: ModelSpec, *, device: str, dtype: str, threads: int, pack: bool) -> Backend:
    match spec.backend:
        case "torch" if spec.module:
            from services.predictor.backends.torch_module import TorchModule

            return TorchModule(spec, device=device, dtype=dtype, threads=threads)
        case "torch":
            from services.predictor.backends.torch_text import TorchText

            return TorchText(spec, device=device, dtype=dtype, threads=threads, pack=pack)
        case "onnx":
            return _load_onnx(spec, device=device, dtype=dtype, threads=threads)
        case "python":
            from services.predictor.backends.own_python import OwnPython
            from services.predictor.backends.own_trial import tried_with_its_sample

            own = OwnPython(spec, device=device)
            return tried_with_its_sample(own, spec) if spec.task is Task.CUSTOM else own
        case "stand-in":
            from services.predictor.backends.stand_in import StandIn

            return StandIn(spec)
        case unknown:
            raise UnknownBackend(
                f"{spec.file}: backend = {unknown!r}: write one of torch, onnx, python, stand-in"
            )


def _load_onnx(spec: ModelSpec, *, device: str, dtype: str, threads: int) -> Backend:
    try:
        from services.predictor.backends.onnx_rows import OnnxRows
        from services.predictor.backends.onnx_text import OnnxTextClassifier
    except ImportError as exc:
        raise UnknownBackend(
            f"model {spec.key} asks for backend onnx, and ONNX Runtime is not there "
            f"({exc}): pip install 'penstock[onnx]'"
        ) from exc

    if isinstance(spec.takes, TextInput):
        return OnnxTextClassifier(spec, device=device, dtype=dtype, threads=threads)
    return OnnxRows(spec, threads=threads)
