"""``Prefer`` (RFC 7240): how long a caller waits, and what is echoed of it.

Pure. Unknown preferences and values that mean nothing are ignored, as the RFC has it.
"""

from typing import Final

import msgspec


class Preferences(msgspec.Struct, frozen=True):
    """What a caller prefers, as far as it is followed."""

    wait_s: float
    applied: bytes = b""
    """For ``Preference-Applied``."""


class WaitLimits(msgspec.Struct, frozen=True):
    """How long a caller is kept who does not say, and who does."""

    default_s: float
    longest_s: float


_LONGEST_NUMBER: Final = 9


def read_preferences(prefer: bytes | None, limits: WaitLimits) -> Preferences:
    """``respond-async`` alone does not wait at all; with ``wait`` it means that wait."""
    if prefer is None:
        return Preferences(limits.default_s)
    asked = _preferences(prefer.decode("latin-1"))
    applied = ["respond-async"] if "respond-async" in asked else []
    wait_s = 0.0 if applied else limits.default_s
    wait = asked.get("wait", "")
    if wait.isascii() and wait.isdigit() and len(wait) <= _LONGEST_NUMBER:
        wait_s = min(float(wait), limits.longest_s)
        applied.append(f"wait={wait_s:g}")
    return Preferences(wait_s, ", ".join(applied).encode())


def _preferences(prefer: str) -> dict[str, str]:
    """By lower-case name; of a repeated one the first counts."""
    asked: dict[str, str] = {}
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        asked.setdefault(name.strip().lower(), value.strip().strip('"'))
    return asked
