"""The predictor's settings: read once, in ``__main__``, and frozen afterwards."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from shared.settings import FrozenSettings, SharedSettings, separated
from shared.settings_words import Takes


class PredictorSettings(FrozenSettings, env_prefix="PENSTOCK_PREDICTOR_"):
    """What one predictor computes on, and how it forms micro-batches."""

    shared: SharedSettings = Field(default_factory=SharedSettings)

    models: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(separated),
        Takes("names, or name@version, separated by commas"),
    ] = Field((), description="models that this predictor serves; none named: all there are")
    device: Annotated[str, Takes("auto, cpu, cuda or cuda:N")] = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="where the model runs; auto takes a GPU where there is one",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="the weights' type on the device; auto is float32 on a CPU and bfloat16 on "
        "a GPU; int8, for the linear layers of texts' models and on a CPU only, is faster and less "
        "exact",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1_024,
        description="CPU threads of a forward pass; 0 = one, half of the cores or all that this "
        "process may use: what is fastest, measured when a model is loaded",
    )
    pack: bool = Field(
        True, description="compute no padding, where the model and its device can do without"
    )
    max_forward_ms: int = Field(
        100,
        ge=1,
        le=60_000,
        description="how long a micro-batch should compute: its tokens follow, by what the model "
        "is measured to take on its device",
    )
    token_budget: int = Field(
        16_384,
        ge=1,
        description="tokens in one micro-batch, its padding included, however fast the device is",
    )
    max_rows: int = Field(64, ge=1, le=65_535, description="rows in one micro-batch")
    linger_ms: int = Field(
        0, ge=0, le=10_000, description="how long a free device waits for company"
    )
    bulk_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="part of the device that bulk and large requests get while interactive waits "
        "(0: none), and of max_forward_ms that they fill while interactive work comes in",
    )
    read_ahead_ms: int = Field(
        1_000, ge=0, le=60_000, description="work that is leased ahead of the running batch"
    )
    reclaim_every_ms: int = Field(
        1_000, ge=10, description="how often to look for the work of dead predictors"
    )
    drain_grace_ms: int = Field(
        30_000, ge=0, description="how long the running batch may go on after SIGTERM"
    )

    @model_validator(mode="after")
    def _forwards_end_in_time(self) -> Self:
        limit_ms = self.shared.forward_limit_ms
        if self.max_forward_ms > limit_ms // 2:
            raise ValueError(
                f"PENSTOCK_PREDICTOR_MAX_FORWARD_MS={self.max_forward_ms} is more than half of "
                f"PENSTOCK_FORWARD_LIMIT_MS={limit_ms}, after which a predictor ends itself: "
                f"lower the one to {limit_ms // 2} or raise the other"
            )
        return self
