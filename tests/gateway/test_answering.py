"""What is large, or decoded by a model's own Python, is answered without holding up the loop."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from services.gateway.answering import Answering
from services.gateway.schemas import TimingsMs
from services.preprocess.codecs import Codec
from services.preprocess.custom import CustomCodec
from services.preprocess.echo import EchoCodec
from shared.contract import ModelKey
from shared.model_spec import Cost
from tests.builders import MODEL, record, success
from tests.specs import stand_in

SPENT = TimingsMs(0, 0, 0, 0, 0, 0)
OTHER = ModelKey("other", "1")


def custom(folder: Path, decode: str) -> CustomCodec:
    python = f"import threading\n\ndef encode(given):\n    return given\n\n{decode}"
    (folder / "model.py").write_text(python)
    return CustomCodec(folder, Cost.FIXED)


class Watched(EchoCodec):
    """Notes which thread decodes."""

    def __init__(self) -> None:
        super().__init__(stand_in())
        self.threads: set[int] = set()

    def decode(self, *given: object, **more: object) -> dict[str, object]:
        self.threads.add(threading.get_ident())
        return super().decode(*given, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "on_the_loop"), [(1, True), (5, False)])
async def test_a_large_answer_is_made_in_a_thread(rows: int, on_the_loop: bool) -> None:
    codec = Watched()
    answering = Answering({MODEL: codec})

    made = await answering.prediction(record(*[success(b"x" * 8_000)] * rows), SPENT, instance="/")

    assert len(json.loads(made.body)["outputs"]) == rows
    assert (codec.threads == {threading.get_ident()}) is on_the_loop


async def test_a_decode_of_ones_own_is_run_in_a_thread(
    tmp_path: Path,
) -> None:
    decode = "def decode(outputs):\n    return {'thread': threading.current_thread().name}\n"
    answering = Answering({MODEL: custom(tmp_path, decode)})

    made = await answering.job_record(record(success()), status=200)

    assert json.loads(made.body)["outputs"] == [{"thread": "decode"}]


async def test_a_decode_that_never_returns_costs_its_own_model_alone(tmp_path: Path) -> None:
    hangs = custom(tmp_path, "def decode(outputs):\n    threading.Event().wait()\n")
    codecs: dict[ModelKey, Codec] = {MODEL: hangs, OTHER: EchoCodec(stand_in())}
    answering = Answering(codecs, longest_decode_s=0.2)

    asked = [answering.job_record(record(success()), status=200) for _ in range(6)]
    hanging = asyncio.gather(*asked, return_exceptions=True)
    echo = await answering.job_record(record(success(b"x"), model=OTHER), status=200)

    assert json.loads(echo.body)["outputs"] == [{"echo": "x"}]
    told = [str(one) for one in await hanging]
    assert (
        told[:4]
        == [f"the decode of model {MODEL} did not return within 0.2 s: it has to be mended"] * 4
    )
    assert all("4 answers of model" in one and "try again later" in one for one in told[4:])


async def test_a_thread_that_cannot_be_had_keeps_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = Answering({MODEL: custom(tmp_path, "def decode(outputs):\n    return {}\n")})
    whole = record(success())

    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        for _ in range(5):
            with pytest.raises(RuntimeError):
                await answering.job_record(whole, status=200)

    assert (await answering.job_record(whole, status=200)).status == 200
