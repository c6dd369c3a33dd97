"""Processes that heed Ctrl-C and a closed terminal, however the test run itself was started.

A shell ignores SIGINT in what it starts with ``&``, ``nohup`` ignores SIGHUP, and every child
inherits it: a test that sends one of them would wait for nothing.
"""

import sys
from collections.abc import Sequence
from typing import Final

_HEED: Final = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def at_a_terminal(command: Sequence[str]) -> list[str]:
    """``command``, whose first word is a path, run as from an interactive shell; same process."""
    return [sys.executable, "-I", "-S", "-c", _HEED, *command]
