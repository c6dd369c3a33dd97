"""What every server is asked to do, ours included, and the answers that must come back.

Knows models, texts and our own settings; knows nothing of how a peer is started.
"""

from dataclasses import dataclass
from typing import Final

from bench import models
from bench.client import Request
from bench.inprocess import run_inprocess
from bench.plan import Plan
from bench.serve import BEST, checked
from bench.texts import texts

OURS: Final = "penstock"

_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class OwnSetting:
    """How ours is run."""

    predictors: int
    padded: bool = False

    @property
    def server(self) -> str:
        """As it is called in the tables; padded it is not what others are compared with."""
        return f"{OURS}, padded" if self.padded else OURS

    def __str__(self) -> str:
        return "1 predictor" if self.predictors == 1 else f"{self.predictors} predictors"


ONE: Final = OwnSetting(1)
TWO: Final = OwnSetting(2)
TWO_PADDED: Final = OwnSetting(2, padded=True)


@dataclass(frozen=True, slots=True)
class Work:
    """What every server has to do."""

    name: str
    peer_model: str
    own_model: str
    texts: list[str]
    scores: list[float]
    """What a peer answers to each text."""
    own: list[Request]
    own_settings: tuple[OwnSetting, ...]
    swept: int
    """Requests in a run of the sweep."""
    timed: int


def echo(plan: Plan) -> Work:
    """Nothing to compute: what the servers themselves cost."""
    asked = [f"request {number}: a line of text, as they come" for number in range(500)]
    return Work(
        name="echo",
        peer_model="echo",
        own_model=models.ECHO,
        texts=asked,
        scores=[float(len(text)) for text in asked],
        own=[Request({"inputs": text}, {"echo": text}) for text in asked],
        own_settings=(ONE, TWO),
        swept=plan.size(4_000, 200),
        timed=plan.size(12_000, 200),
    )


def classifier(plan: Plan) -> Work:
    """MiniLM-L6's shape and texts of mixed length."""
    models.repository(plan.cache)
    folder = models.folder_of(models.MINILM, plan.cache)
    asked = texts(models.tokenizer_of(models.MINILM, plan.cache), plan.size(1_000, 64), seed=_SEED)
    told = run_inprocess(BEST.offline(asked, plan.cache))
    second = [
        output["score"] if output["label"] == "LABEL_1" else 1 - output["score"]
        for output in told.outputs
    ]
    return Work(
        name="classifier (MiniLM-L6's shape)",
        peer_model=str(folder.resolve()),
        own_model=models.MINILM,
        texts=asked,
        scores=second,
        own=checked(asked, told.outputs),
        own_settings=(ONE, TWO, TWO_PADDED),
        swept=plan.size(300, 64),
        timed=plan.size(1_000, 64),
    )
