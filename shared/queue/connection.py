"""The wall between Penstock and redis-py.

A client of our own making: no silent retries (a repeated blocking read loses what the first one
was given), timeouts above the longest block, and every connection failure leaves here as
:class:`~shared.errors.QueueUnavailable`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.errors import QueueUnavailable

BLOCK_MS: Final = 1_000
"""The longest that a read blocks in Redis; the socket timeout stays above it."""

_SOCKET_TIMEOUT_S: Final = 5.0
_AWAY: Final = (
    exceptions.ConnectionError,  # wrong password, still loading: these are among them
    exceptions.ReadOnlyError,
    exceptions.TimeoutError,
    OSError,
)


def connect(url: str) -> Redis:
    """A client for ``url`` (``redis://``, ``rediss://``, ``unix://``); connects when first used."""
    return Redis.from_url(
        url,
        decode_responses=False,
        protocol=2,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


@contextmanager
def speaking_to_redis(verb: str) -> Iterator[None]:
    """Translate what redis-py raises while Redis is away; anything else is a bug and passes."""
    try:
        yield
    except _AWAY as exc:
        raise QueueUnavailable(
            f"cannot {verb}, Redis does not answer ({type(exc).__name__}): try again in a moment"
        ) from exc
