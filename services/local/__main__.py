"""All of it on one machine: ``make run``, or ``python -m services.local``.

The composition root: reads every service's settings, so that a wrong one is refused
before anything is started, and hands the parts to the supervisor. The parts are the
same processes that run on machines of their own; nothing here is known to them.
"""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from services.gateway.settings import GatewaySettings
from services.local.embedded_redis import EmbeddedRedis, embedded_redis
from services.local.parts import (
    address_of,
    claim,
    gateway_parts,
    predictor_parts,
    preprocess_parts,
    url_of,
)
from services.local.settings import LocalSettings
from services.local.supervisor import run
from services.predictor.settings import PredictorSettings
from services.preprocess.settings import PreprocessSettings
from shared.cores import usable_cores
from shared.errors import ServiceError
from shared.repository import ModelRefused, ModelSpec, open_configured
from shared.settings import SettingsRefused, load, refuse
from shared.stopping import leave_when_told
from shared.telemetry import configure_logging

_LONGEST_SHOWN: Final = 500
"""Characters of a sample on a command line; a picture has many thousand."""


def main() -> None:
    local = load(LocalSettings)
    gateway = load(GatewaySettings)
    predictor = load(PredictorSettings)
    preprocess = load(PreprocessSettings)
    leave_when_told(lambda number: 128 + number)
    configure_logging(local.shared.log_format, local.shared.log_level, service="local")
    try:
        status = start(local, gateway, predictor, preprocess)
    except (SettingsRefused, ModelRefused, ServiceError) as refused:
        refuse(str(refused))
    except KeyboardInterrupt:  # after the supervisor has stopped listening
        status = 128 + signal.SIGINT
    raise SystemExit(status)


def start(
    local: LocalSettings,
    gateway: GatewaySettings,
    predictor: PredictorSettings,
    preprocess: PreprocessSettings,
) -> int:
    """Claim what must be ours alone, then run; returns the exit status.

    Raises:
        SettingsRefused: what is asked for cannot be started here
        ModelRefused, ServiceError: the model cannot be served
    """
    budgets_agree(gateway, predictor)
    shared = local.shared
    repository = open_configured(shared, weights=False)
    repository.check_default()
    workers = local.preprocessors if repository.wants_preprocess_worker() else 0
    with ExitStack() as claimed:
        listener = claimed.enter_context(claim(gateway.host, gateway.port))
        redis = None
        environ = dict(os.environ)
        if "redis_url" not in local.shared.model_fields_set:
            redis = claimed.enter_context(
                embedded_redis(
                    local.data,
                    local.redis_server,
                    max_memory_bytes=local.redis_max_memory_bytes,
                )
            )
            environ["PENSTOCK_REDIS_URL"] = redis.url
        parts = [
            *gateway_parts(local.gateways, gateway, listener=listener, environ=environ),
            *preprocess_parts(workers, preprocess, environ=environ),
            *predictor_parts(local.predictors, predictor, cores=usable_cores(), environ=environ),
        ]
        queue = describe(redis) if redis else local.shared.redis_address
        greeting = welcome(
            *address_of(listener),
            model=repository.default,
            queue=queue,
            ops={part.name: part.ops_address for part in parts if part.ops_address},
        )
        return asyncio.run(
            run(
                [redis.part()] if redis else [],
                parts,
                on_ready=lambda: print(greeting, flush=True),
                on_stop=listener.close,  # the gateways have theirs: while they drain, none comes in
            )
        )


def budgets_agree(gateway: GatewaySettings, predictor: PredictorSettings) -> None:
    """A chunk is never split, so every chunk must fit every predictor's batch."""
    if predictor.token_budget < gateway.chunk_tokens:
        raise SettingsRefused(
            f"PENSTOCK_PREDICTOR_TOKEN_BUDGET={predictor.token_budget} is less than "
            f"PENSTOCK_GATEWAY_CHUNK_TOKENS={gateway.chunk_tokens}: raise the one to "
            f"{gateway.chunk_tokens} or lower the other to {predictor.token_budget}"
        )


def describe(redis: EmbeddedRedis) -> str:
    memory_mib = redis.max_memory_bytes >> 20
    return f"embedded Redis {redis.version}, append-only, {memory_mib} MiB, in {redis.data}"


def welcome(host: str, port: int, *, model: ModelSpec, queue: str, ops: Mapping[str, str]) -> str:
    """What a newcomer needs next, with a request that works as it stands.

    ``ops`` is where each process says how it is, by its name.
    """
    address = url_of(host, port)
    body = shlex.quote(json.dumps({"inputs": model.sample}, ensure_ascii=False))
    if len(body) > _LONGEST_SHOWN:
        ask = f"{address}/models/{model.key.name}/test"
    else:
        ask = f"{address}/predict -H 'Content-Type: application/json' -d {body}"
    metrics = [f"{address}/metrics", *(f"{at}/metrics ({name})" for name, at in ops.items())]
    return f"""
Penstock is ready.

  address   {address}
  docs      {address}/docs
  model     {model.key}
  queue     {queue}
  metrics   {f"{chr(10)}            ".join(metrics)}

Try it:

  curl -s {ask}

Ctrl-C drains and stops everything.
"""


if __name__ == "__main__":
    main()
