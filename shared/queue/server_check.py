"""Look at a Redis before the queue is trusted to it: can it hold the queue, and does it keep it?

What no waiting can cure (an old version, a wrong password, a node without the slot, commands that
this user may not run) is :class:`ServerUnfit`; what may pass (away, loading, failing over) is
:class:`~shared.errors.QueueUnavailable`, as of every other verb.
"""

import os
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import structlog
from redis import exceptions
from redis.asyncio import Redis

from shared.errors import QueueUnavailable
from shared.queue.connection import speaking_to_redis
from shared.queue.patience import Patience
from shared.queue.scripts import Script

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_OLDEST: Final = (6, 2)
_MANY: Final = 3
_NOT_ALLOWED: Final = (
    "no permission",  # 7, of commands and keys
    "can't run this command",  # 6.2, from within a script
    "can't access at least one of the keys",
    "unknown command",
    "unknown redis command",  # renamed or taken away, from within a script
)
_ALLOW: Final = (
    "let the user of PENSTOCK_REDIS_URL run what the queue needs, "
    "ACL SETUSER <name> ~penstock:* +@all -@admin"
)


class ServerUnfit(Exception):
    """Redis is there and can never hold the queue as it is set up; says what to change."""


async def check_server(redis: Redis) -> tuple[str, ...]:
    """What an operator should know of this Redis and can change; empty where all is well.

    Raises:
        ServerUnfit: starting again cannot help
        QueueUnavailable: it is away, or takes no writes just now: look again later
    """
    try:
        with speaking_to_redis("look at this Redis"):
            about = await _told_of_itself(redis)
            _check_version(about)
            refused = await Script("check")(redis, name=os.urandom(8).hex())
    except QueueUnavailable as away:
        _refuse_what_never_passes(away)
        raise
    except exceptions.ResponseError as refusal:
        _refuse_what_never_passes(refusal)
        raise QueueUnavailable(f"this Redis answers {refusal}: trying again") from refusal
    _check_commands([complaint.decode(errors="replace") for complaint in refused])
    return tuple(_advice(about))


async def advice(redis: Redis) -> tuple[str, ...]:
    """What an operator should know of a Redis that is fit.

    Raises:
        QueueUnavailable
    """
    with speaking_to_redis("look at this Redis"):
        return tuple(_advice(await _told_of_itself(redis)))


async def wait_for_fit(redis: Redis) -> bool:
    """Wait until this Redis answers; True then.

    Raises:
        ServerUnfit: it answers, and waiting for more cannot help
    """
    patience = Patience(went_away=lambda: None)
    for one in await patience(partial(check_server, redis)):
        log.warning("this Redis may lose jobs", advice=one)
    return True


async def _told_of_itself(redis: Redis) -> dict[str, Any]:
    """``INFO``; empty where this user may not ask for it, which nothing else needs."""
    try:
        about: dict[str, Any] = await redis.info()
    except exceptions.ResponseError as refusal:
        if not _is_forbidden(str(refusal)):
            raise
        return {}
    return about


def _check_version(about: dict[str, Any]) -> None:
    version = str(about.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < _OLDEST:
        raise ServerUnfit(f"this Redis is {version}: use 6.2 or newer, or Valkey")


def _check_commands(complaints: list[str]) -> None:
    """Look through what the trial of the commands has brought.

    Raises:
        ServerUnfit: some may not be run
        QueueUnavailable: it takes no writes just now
    """
    if forbidden := [complaint for complaint in complaints if _is_forbidden(complaint)]:
        names = ", ".join(complaint.partition(" ")[0] for complaint in forbidden[:_MANY])
        more = f" and {len(forbidden) - _MANY} more" if len(forbidden) > _MANY else ""
        raise ServerUnfit(
            f"this Redis refuses {names}{more} ({forbidden[0].partition(' ')[2]}): {_ALLOW}"
        )
    if complaints and not all("OOM" in complaint for complaint in complaints):
        raise QueueUnavailable(f"this Redis refuses {complaints[0]}: trying again")


def _refuse_what_never_passes(error: BaseException) -> None:
    """Look for it among the causes, too: redis-py wraps what goes wrong while it connects.

    Raises:
        ServerUnfit
    """
    cause: BaseException | None = error
    while cause is not None:
        if (why := _never_passes(cause)) is not None:
            raise ServerUnfit(why) from error
        cause = cause.__cause__ or cause.__context__


def _never_passes(error: BaseException) -> str | None:
    """What to change, None where waiting may help."""
    said, why = str(error), None
    match error:
        case exceptions.AuthenticationError():
            why = f"this Redis wants another user or password ({said}): see PENSTOCK_REDIS_URL"
        case exceptions.MovedError():
            why = (
                f"this Redis is a node of a cluster and the queue's slot is on another ({said}): "
                "write that address in PENSTOCK_REDIS_URL"
            )
        case exceptions.ClusterDownError() if "not served" in said:
            why = (
                f"this Redis is a node of a cluster and the queue's slot is nobody's ({said}): "
                "give every slot to a node (redis-cli --cluster create), or switch "
                "cluster-enabled off"
            )
        case exceptions.ResponseError() if "DB index" in said or "SELECT is not allowed" in said:
            why = f"this Redis has no such database ({said}): see PENSTOCK_REDIS_URL"
        case exceptions.ResponseError() if _is_forbidden(said):
            why = f"this Redis refuses what the queue needs ({said}): {_ALLOW}"
        case ssl.SSLCertVerificationError():
            why = (
                f"the certificate of this Redis is not trusted ({said}): name the one that "
                "signed it, ?ssl_ca_certs=<file> in PENSTOCK_REDIS_URL"
            )
    return why


def _is_forbidden(complaint: str) -> bool:
    small = complaint.lower()
    return any(words in small for words in _NOT_ALLOWED)


def _advice(about: dict[str, Any]) -> Iterator[str]:
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"this Redis has maxmemory-policy {policy}, which deletes jobs when its memory is "
            "full: set it to noeviction"
        )
