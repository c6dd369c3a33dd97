"""Settings of ``make run``: how many of what, and where the embedded Redis keeps its data."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from shared.settings import FrozenSettings, SharedSettings
from shared.settings_words import Takes

_LEAST_MEMORY_BYTES: Final = 16 * 1024 * 1024


class LocalSettings(FrozenSettings, env_prefix="PENSTOCK_LOCAL_"):
    """What is started on one machine; the parts read their own settings themselves."""

    shared: SharedSettings = Field(default_factory=SharedSettings)

    predictors: int = Field(1, ge=1, le=64, description="predictors that `make run` starts")
    gateways: int = Field(
        1, ge=1, le=64, description="gateways that `make run` starts, all on one port"
    )
    preprocessors: int = Field(
        1, ge=1, le=64, description="preprocess workers, where a model wants them"
    )
    data: Path = Field(
        Path(".penstock"), description="folder of the embedded Redis; it survives a restart"
    )
    redis_max_memory_bytes: Annotated[
        int | None, Takes(f"a whole number of at least {_LEAST_MEMORY_BYTES}")
    ] = Field(
        None,
        ge=_LEAST_MEMORY_BYTES,
        description="memory of the embedded Redis, beyond which new jobs are refused (429); none: "
        "a quarter of the machine's, or of its control group's",
    )
    redis_server: Path | None = Field(
        None, description="the redis-server to embed, instead of the one that was installed here"
    )
