"""Parts of a few lines, and a supervisor of them as a process of its own.

    python -m tests.local.children FOLDER

runs ``first`` and then ``left`` and ``right``; each writes what happens to it to
``FOLDER/events``, one word a line.
"""

import asyncio
import os
import sys
from pathlib import Path

from services.local.keeper import Part
from services.local.supervisor import run
from shared.telemetry import configure_logging

_CHILD = """
import os, signal, sys, time
name, events, body = sys.argv[1:]
def tell(what):
    with open(events, "a") as file:
        file.write(f"{name}:{what}\\n")
def leave(status=0):
    def handler(*_):
        tell("stopped")
        sys.exit(status)
    signal.signal(signal.SIGTERM, handler)
exec(body)
"""

PATIENT = "leave(); tell(f'started:{os.getpid()}'); time.sleep(60)"
FAILING = "tell('started'); sys.exit(3)"
REFUSING = "sys.exit(2)"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); tell('started'); time.sleep(60)"
UNHAPPY = "leave(1); tell('started'); time.sleep(60)"


def child(name: str, events: Path, body: str = PATIENT, *, grace_s: float = 10.0) -> Part:
    """A part that runs ``body``; ready once it has written its first line."""

    async def ready() -> str | None:
        return None if f"{name}:started" in happened(events) else "it has not begun"

    return Part(
        name=name,
        command=(sys.executable, "-I", "-S", "-c", _CHILD, name, str(events), body),
        ready=ready,
        environ=os.environ,
        grace_s=grace_s,
    )


def happened(events: Path) -> str:
    return events.read_text() if events.exists() else ""


def main(folder: Path) -> int:
    configure_logging("console", "info", service="local")
    events = folder / "events"
    return asyncio.run(
        run(
            [child("first", events)],
            [child("left", events), child("right", events)],
            on_ready=lambda: print("ready", flush=True),
            on_stop=lambda: None,
        )
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
