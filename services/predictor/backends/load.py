"""Make the backend that a model asks for; torch is imported only when one needs it."""

from services.predictor.backends.base import Backend, UnknownBackend
from services.predictor.backends.trial import tried_out
from shared.model_spec import ModelSpec, Task, TextInput


def load_backend(spec: ModelSpec, *, device: str, dtype: str, threads: int, pack: bool) -> Backend:
    """Load the model's weights onto its device, and try it out.

    Raises:
        UnknownBackend: naming the ones there are; or what the model's file should say
    """
    backend = _load(spec, device=device, dtype=dtype, threads=threads, pack=pack)
    return tried_out(backend, spec)


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
