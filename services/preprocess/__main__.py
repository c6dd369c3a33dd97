"""``python -m services.preprocess``: settings from the environment, logs to standard error."""

import asyncio
import sys

import uvloop

from services.preprocess.app import FAILED_EXIT, Preprocessor
from services.preprocess.settings import PreprocessSettings
from shared.model_spec import ModelRefused
from shared.queue.server_check import ServerUnfit
from shared.settings import load, refuse
from shared.stopping import leave, leave_when_told
from shared.telemetry import configure_logging


def main() -> int:
    """Exit status: 0 drained, 1 not drained in time, 2 refused to start."""
    settings = load(PreprocessSettings)
    leave_when_told()
    shared = settings.shared
    configure_logging(shared.log_format, shared.log_level, service="preprocess")
    try:
        preprocessor = Preprocessor(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(preprocessor.run())
    except (ModelRefused, ServerUnfit) as refused:
        refuse(str(refused))
    if status == FAILED_EXIT:
        leave(status)  # an orderly exit would wait for an encoding that may never end
    return status


if __name__ == "__main__":
    sys.exit(main())
