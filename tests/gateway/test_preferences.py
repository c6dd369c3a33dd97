import pytest

from services.gateway.preferences import Preferences, WaitLimits, read_preferences

LIMITS = WaitLimits(default_s=30, longest_s=120)


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (None, Preferences(30)),
        (b"wait=5", Preferences(5, b"wait=5")),
        (b"wait=0", Preferences(0, b"wait=0")),
        (b"wait=500", Preferences(120, b"wait=120")),
        (b'WAIT = "7"', Preferences(7, b"wait=7")),
        (b"respond-async", Preferences(0, b"respond-async")),
        (b"respond-async, wait=10", Preferences(10, b"respond-async, wait=10")),
        (b"wait=3; x=y, wait=4", Preferences(3, b"wait=3")),
        (b"return=minimal, handling=strict", Preferences(30)),
        (b"wait=-1", Preferences(30)),
        (b"wait=1.5", Preferences(30)),
        (b"wait=soon", Preferences(30)),
        ("wait=\u0663".encode(), Preferences(30)),
        (b"wait=" + b"9" * 400, Preferences(30)),
        (b",;=,", Preferences(30)),
    ],
)
def test_what_is_preferred_is_followed_or_ignored(
    prefer: bytes | None, expected: Preferences
) -> None:
    assert read_preferences(prefer, LIMITS) == expected
