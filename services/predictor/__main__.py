"""``python -m services.predictor``: settings from the environment, logs to standard error."""

import asyncio
import os
import sys
from typing import Final

import uvloop

from services.predictor.app import FAILED_EXIT, Predictor
from services.predictor.backends.base import UnknownBackend
from services.predictor.settings import PredictorSettings
from shared.model_spec import ModelRefused
from shared.queue.server_check import ServerUnfit
from shared.settings import load, refuse
from shared.stopping import leave, leave_when_told
from shared.telemetry import configure_logging

OPENMP_SPINS: Final = "10000"
"""Threads that spin on after a forward keep the cores from whoever is next.

Hop p99 2.5 ms so, 9.7 with twenty times as many: bench/README.md.
"""


async def serve(settings: PredictorSettings) -> int:
    """Build the predictor inside the loop and run it."""
    return await Predictor(settings).run()


def main() -> int:
    """Exit status: 0 drained, 1 not drained in time, 2 refused to start."""
    os.environ.setdefault("GOMP_SPINCOUNT", OPENMP_SPINS)  # read when torch is imported
    settings = load(PredictorSettings)
    leave_when_told()
    shared = settings.shared
    configure_logging(shared.log_format, shared.log_level, service="predictor")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(serve(settings))
    except (ModelRefused, UnknownBackend, ServerUnfit) as refused:
        refuse(str(refused))
    if status == FAILED_EXIT:
        leave(status)  # an orderly exit would wait for a forward that may never end
    return status


if __name__ == "__main__":
    sys.exit(main())
