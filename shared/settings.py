"""Settings that every service reads, and the one way to read any settings.

A setting is an environment variable; its name, bounds, default and meaning are declared
once, on its field. A wrong value or a misspelt name refuses to boot, with what to write
instead. Read in composition roots only: everybody below receives values.

``docs/settings.md`` is written from the same declarations (``tools/settings_table.py``).
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.redis_url import check_redis_url
from shared.service_links import service_links
from shared.settings_words import Takes, unknown_name, variables, worded

SETTINGS_REFUSED: Final = 2
"""Exit status of a process that will not start as configured; starting it again cannot help."""

_PREFIX: Final = "PENSTOCK_"
SERVICE_PREFIXES: Final = (
    "PENSTOCK_GATEWAY_",
    "PENSTOCK_PREDICTOR_",
    "PENSTOCK_PREPROCESS_",
    "PENSTOCK_LOCAL_",
)
"""Names under another service's prefix are that service's to judge."""

_REDIS_URL: Final = (
    "redis://host:6379/0, rediss://user:password@host:6379/0 or unix:///path/redis.sock"
)

Settings = TypeVar("Settings", bound=BaseSettings)


class SettingsRefused(Exception):
    """One line for each setting that is wrong, and what to write instead."""


def _redis_url(secret: SecretStr) -> SecretStr:
    check_redis_url(secret.get_secret_value())
    return secret


def _folders(value: object) -> object:
    return [part for part in value.split(":") if part] if isinstance(value, str) else value


def separated(value: object) -> object:
    """What is written with commas in between, as a list."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


class FrozenSettings(BaseSettings):
    """From the environment, frozen, and never quoted in an error; each kind has its prefix."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the code says, then the environment without the variables of Services."""
        assert isinstance(env_settings, EnvSettingsSource)
        links = ignored_links()
        env_settings.env_vars = {
            name: value
            for name, value in env_settings.env_vars.items()
            if name.upper() not in links
        }
        return init_settings, env_settings, dotenv_settings, file_secret_settings


class SharedSettings(FrozenSettings, env_prefix="PENSTOCK_"):
    """What the gateway, the predictor and ``make run`` must agree on."""

    redis_url: Annotated[SecretStr, Takes(_REDIS_URL), AfterValidator(_redis_url)] = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="the Redis that holds the queue"
    )
    models: Annotated[
        tuple[Path, ...],
        NoDecode,
        BeforeValidator(_folders),
        Takes("folders, separated by a colon"),
    ] = Field((Path("models"),), description="model repositories, searched in this order")
    model: Annotated[str | None, Takes("a name in the repository, a directory or a hub id")] = (
        Field(
            None,
            min_length=1,
            description="the default model, and the only one unless PENSTOCK_MODELS is set, too; "
            "none: the first of the repository, by name",
        )
    )
    lease_ms: int = Field(
        10_000,
        ge=30,
        le=3_600_000,
        description="how long a silent predictor keeps what it holds; bounds the recovery time",
    )
    renew_every_ms: int = Field(
        3_000, ge=10, le=1_200_000, description="how often a live predictor renews its leases"
    )
    attempts: int = Field(
        3,
        ge=2,  # the first may end with a batch-mate's death; only the second is alone
        le=100,
        description="tries without a result before a row is given up",
    )
    forward_limit_ms: int = Field(
        60_000,
        ge=100,
        le=3_600_000,
        description="longest forward pass or encoding; the process of a longer one ends",
    )
    retention_ms: int = Field(
        3_600_000, ge=1_000, description="how long a result stays readable after the job's end"
    )
    answered_retention_ms: int = Field(
        60_000,
        ge=1_000,
        description="how long a job is kept, if that is less, once its answer went out on the "
        "line it was asked on; not those of PUT, of an Idempotency-Key or answered 202",
    )
    ops_port: int = Field(
        0, ge=0, le=65_535, description="port of a predictor's health and metrics, 0 = off"
    )
    ops_host: Annotated[str, Takes("an address, 0.0.0.0 or :: for all")] = Field(
        "127.0.0.1", min_length=1, description="address that the ops port listens on"
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="log lines for people or for machines"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least severe log line that is written"
    )

    @property
    def model_alone(self) -> bool:
        """One model was named, and no repository: the shipped ones beside it are not wanted."""
        return self.model is not None and "models" not in self.model_fields_set

    @property
    def redis_address(self) -> str:
        """The Redis URL as it may be shown: without user and password."""
        url = urlsplit(self.redis_url.get_secret_value())
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"

    @model_validator(mode="after")
    def _a_lease_survives_two_lost_renewals(self) -> Self:
        if self.lease_ms < 3 * self.renew_every_ms:
            raise ValueError(
                f"PENSTOCK_LEASE_MS={self.lease_ms} is less than three times "
                f"PENSTOCK_RENEW_EVERY_MS={self.renew_every_ms}: write PENSTOCK_LEASE_MS="
                f"{3 * self.renew_every_ms} or PENSTOCK_RENEW_EVERY_MS={self.lease_ms // 3}"
            )
        return self


def load(settings_class: type[Settings]) -> Settings:
    """Read one service's settings; end the process with status 2 when they are wrong."""
    try:
        return read(settings_class)
    except SettingsRefused as refused:
        refuse(str(refused))


def read(settings_class: type[Settings]) -> Settings:
    """Read one service's settings from the environment.

    Raises:
        SettingsRefused: naming everything that is wrong, not only the first of it
    """
    complaints = _misspelt(settings_class, os.environ)
    settings: Settings | None = None
    try:
        settings = settings_class()
    except ValidationError as error:
        declared = SharedSettings if error.title == SharedSettings.__name__ else settings_class
        complaints += [worded(each, declared) for each in error.errors(include_url=False)]
    if settings is None or complaints:
        raise SettingsRefused("\n".join(complaints))
    return settings


def refuse(reason: str) -> NoReturn:
    """Say why this process will not start, and leave with status 2."""
    sys.stderr.write("\n  ".join(["penstock cannot start:", *reason.splitlines()]) + "\n")
    raise SystemExit(SETTINGS_REFUSED)


def ignored_links() -> frozenset[str]:
    """Variables of this process's environment that are Kubernetes' and no settings."""
    return service_links(os.environ, prefix=_PREFIX)


def _misspelt(settings_class: type[BaseSettings], environ: Mapping[str, str]) -> list[str]:
    known = {**variables(SharedSettings), **variables(settings_class)}
    own_prefix = settings_class.model_config["env_prefix"]
    links = ignored_links()
    elsewhere = tuple(prefix for prefix in SERVICE_PREFIXES if prefix != own_prefix)
    return [
        unknown_name(name, known=tuple(known), prefixes=SERVICE_PREFIXES)
        for name in sorted(environ)
        if name.upper().startswith(_PREFIX)
        and name.upper() not in known
        and name.upper() not in links
        and not name.upper().startswith(elsewhere)
    ]
