"""Keep what all models of a process share as it was, whatever one model's own Python does to it.

The working directory (a relative ``PENSTOCK_MODELS`` is read in it again), how the process hears of
SIGTERM and SIGINT (it drains on them), and the model's own folder on ``sys.path``, where another
model's ``import helper`` would find this one's file.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_HEARD: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def working_directory_kept(home: str | None = None) -> Iterator[None]:
    """For the length of the block the code may go elsewhere; then the process is back.

    ``home`` is where it belongs, for blocks that run in several threads: while another one is
    elsewhere, where it is now says nothing.
    """
    before = home or working_directory()
    try:
        yield
    finally:
        if before is not None and working_directory() != before:
            os.chdir(before)


@contextmanager
def surroundings_kept(folder: Path) -> Iterator[None]:
    """The working directory, and what code does once, when it is loaded."""
    paths = list(sys.path)
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in _HEARD}
    try:
        with working_directory_kept():
            yield
    finally:
        own = {str(folder), str(folder.resolve())}
        sys.path[:] = [each for each in sys.path if each in paths or each not in own]
        for number, handler in handlers.items():
            if main and handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def working_directory() -> str | None:
    """Where the process is; None where that folder was deleted."""
    with suppress(FileNotFoundError):
        return os.getcwd()  # noqa: PTH109 -- asked before and after each batch
    return None
