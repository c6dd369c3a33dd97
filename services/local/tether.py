"""Become a command that is told to stop when its parent dies, whatever kills the parent.

``kill -9`` of the supervisor leaves it no last word; the kernel then sends SIGTERM to
every part (Linux; elsewhere the parts stay). The wish survives ``exec``, so this file is
run in front of a part's own command, without the project and without site packages.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit("the supervisor died before this part began")
    os.execvp(command[0], command)  # noqa: S606  the part's own command, from a list


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
