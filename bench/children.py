"""Processes that never outlive the measurement that started them, however it ends."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from services.local import tether

_TETHER: Final = (sys.executable, "-I", "-S", str(Path(tether.__file__)))


def tethered(command: Sequence[str]) -> list[str]:
    """The same command, told by the kernel to stop when this process dies."""
    return [*_TETHER, str(os.getpid()), *command]
