"""The gateway's settings: read once, in ``__main__``, and frozen afterwards."""

import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from shared.settings import FrozenSettings, SharedSettings, separated
from shared.settings_words import Takes

PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
"""A path under which a proxy may serve a gateway."""
EVERY_ORIGIN: Final = "*"

_SHORTEST_KEY: Final = 16
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+")


def _root_path(path: str) -> str:
    if path and not PREFIX.fullmatch(path.rstrip("/")):
        raise ValueError("this is no path")
    return path.rstrip("/")


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin == EVERY_ORIGIN and len(origins) > 1:
            raise ValueError("* is every origin: leave the others out")
        if origin != EVERY_ORIGIN and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin, which has no path and no slash at its end")
    return origins


class GatewaySettings(FrozenSettings, env_prefix="PENSTOCK_GATEWAY_"):
    """How one gateway listens, what it admits and how long it waits."""

    shared: SharedSettings = Field(default_factory=SharedSettings)

    host: Annotated[str, Takes("an address, 0.0.0.0 or :: for all")] = Field(
        "127.0.0.1", min_length=1, description="address to listen on"
    )
    port: int = Field(8_000, ge=0, le=65_535, description="port to listen on, 0 = any free one")
    fd: int | None = Field(
        None, ge=3, description="an inherited listening socket, instead of host and port"
    )
    wait_ms: int = Field(
        30_000, ge=1, description="how long a synchronous caller is kept when it does not say"
    )
    longest_wait_ms: int = Field(
        120_000, ge=1, description="longest wait that a caller can ask for"
    )
    body_limit_bytes: int = Field(16 * 1024 * 1024, ge=1_024, description="largest request body")
    body_timeout_ms: int = Field(
        10_000, ge=1, description="how long a client may take to send its body"
    )
    max_inputs: int = Field(10_000, ge=1, le=65_535, description="inputs in one request")
    queue_limit_tokens: int = Field(
        2_000_000, ge=1, description="tokens queued for one model before requests get 429"
    )
    tenant_share: float = Field(
        1.0, gt=0, le=1, description="part of that limit that one tenant may hold"
    )
    chunk_tokens: int = Field(
        512, ge=1, description="a job is cut into chunks of about this many tokens"
    )
    chunk_rows: int = Field(32, ge=1, le=4_096, description="most rows in one chunk")
    small_ms: int = Field(
        100,
        ge=0,
        description="an interactive request of several chunks that takes the predictors longer "
        "than this gives way to smaller ones",
    )
    preprocess_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="threads that tokenize; 0 = two, or one where this process may use one core",
    )
    drain_grace_ms: int = Field(
        30_000, ge=0, description="how long open requests may go on after SIGTERM"
    )
    max_in_flight: int = Field(10_000, ge=1, description="requests held open before 429")

    root_path: Annotated[str, Takes("a path: /api"), AfterValidator(_root_path)] = Field(
        "", description="path under which a proxy serves this gateway; `Location` begins with it"
    )
    forwarded_prefix: bool = Field(
        False,
        description="the proxy says that path in `X-Forwarded-Prefix`, which callers cannot set",
    )
    cors_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(separated),
        AfterValidator(_origins),
        Takes("* or origins, separated by commas: https://app.example.org"),
    ] = Field((), description="whose pages may call this gateway from a browser (CORS); none: off")

    admin_key: Annotated[
        SecretStr | None, Takes(f"text of at least {_SHORTEST_KEY} characters")
    ] = Field(
        None,
        min_length=_SHORTEST_KEY,
        description="opens the routes that change what is served; none: off",
    )
    admin_key_file: Path | None = Field(
        None,
        description=f"a file that holds the admin key, of at least {_SHORTEST_KEY} characters, "
        "instead of the key itself",
    )

    def the_admin_key(self) -> str | None:
        """From the environment or the file; None where there is none."""
        return self.admin_key.get_secret_value() if self.admin_key else self._key_in_file()

    def _key_in_file(self) -> str | None:
        return self.admin_key_file.read_text().strip() if self.admin_key_file else None

    @model_validator(mode="after")
    def _there_is_one_admin_key(self) -> Self:
        name = "PENSTOCK_GATEWAY_ADMIN_KEY"
        if self.admin_key and self.admin_key_file:
            raise ValueError(f"{name} and {name}_FILE are both set: leave one of them out")
        try:
            key = self._key_in_file()
        except OSError as exc:
            raise ValueError(
                f"{name}_FILE={self.admin_key_file} cannot be read: {exc.strerror}: write a file "
                "that this service may read"
            ) from None
        if key is not None and len(key) < _SHORTEST_KEY:
            raise ValueError(
                f"{name}_FILE={self.admin_key_file} holds {len(key)} characters: write a key of at "
                f"least {_SHORTEST_KEY}"
            )
        return self

    @model_validator(mode="after")
    def _the_longest_wait_is_the_longest(self) -> Self:
        if self.wait_ms > self.longest_wait_ms:
            raise ValueError(
                f"PENSTOCK_GATEWAY_WAIT_MS={self.wait_ms} is more than "
                f"PENSTOCK_GATEWAY_LONGEST_WAIT_MS={self.longest_wait_ms}: lower the one to "
                f"{self.longest_wait_ms} or raise the other to {self.wait_ms}"
            )
        return self

    @model_validator(mode="after")
    def _results_outlive_waiters(self) -> Self:
        if self.shared.retention_ms <= self.longest_wait_ms:
            raise ValueError(
                f"PENSTOCK_RETENTION_MS={self.shared.retention_ms} is not more than "
                f"PENSTOCK_GATEWAY_LONGEST_WAIT_MS={self.longest_wait_ms}: raise the one above "
                f"{self.longest_wait_ms} or lower the other below {self.shared.retention_ms}"
            )
        return self
