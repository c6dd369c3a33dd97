"""How long to wait before a part that died is started again.

Pure: told how long the part ran, it answers with a delay.
"""

from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
FORGIVEN_AFTER_S: Final = 60.0
"""A part that ran this long was well; its next death is a first one."""


@dataclass(slots=True)
class Backoff:
    """The delays of one part: doubling with every early death, forgotten after a good run."""

    next_s: float = FIRST_S

    def after(self, ran_s: float) -> float:
        """The delay before the next start of a part that just ran for ``ran_s``."""
        delay_s = FIRST_S if ran_s >= FORGIVEN_AFTER_S else self.next_s
        self.next_s = min(2 * delay_s, LONGEST_S)
        return delay_s
