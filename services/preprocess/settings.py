"""The preprocess worker's settings: read once, in ``__main__``, and frozen afterwards."""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from shared.settings import FrozenSettings, SharedSettings, separated
from shared.settings_words import Takes


class PreprocessSettings(FrozenSettings, env_prefix="PENSTOCK_PREPROCESS_"):
    """What one preprocess worker encodes, and how much of it at a time."""

    shared: SharedSettings = Field(default_factory=SharedSettings)

    models: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(separated),
        Takes("names, or name@version, separated by commas"),
    ] = Field(
        (), description="models whose inputs it encodes; none named: all that want such a worker"
    )
    threads: int = Field(2, ge=1, le=256, description="threads that encode")
    window: int = Field(
        16, ge=1, le=4_096, description="inputs that it holds at a time of each of a model's lanes"
    )
    reclaim_every_ms: int = Field(
        1_000, ge=10, description="how often to look for the work of dead preprocess workers"
    )
    drain_grace_ms: int = Field(
        30_000, ge=0, description="how long what is begun may go on after SIGTERM"
    )
