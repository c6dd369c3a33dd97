"""What the predictor asks of whatever computes."""

from collections.abc import Sequence
from typing import Any, Protocol

from services.predictor.rows import Row
from shared.contract import Outcome


class Backend(Protocol):
    """One loaded model on one device. ``forward`` is called from one thread at a time."""

    device: str
    """Where it computes, for people: ``cpu``, ``cuda:0``, …"""
    packs: bool
    """A batch costs the sum of its rows, not ``rows x longest``."""
    fixed: bool
    """Every row has one size: their number alone bounds a batch."""
    least_tokens: int
    """Rows are padded to as many at the least; 1 where to the longest of their batch."""

    def size(self, row: Row) -> int:
        """What a row costs: its tokens or, of one size, what the queue counts it as."""

    def made_up(self, length: int) -> Row | None:
        """A row of at most that length, to measure with; None where there is no need to."""

    def prepare(self, rows: Sequence[Row]) -> Any:
        """Make a batch ready on the host while another one computes."""

    def forward(self, prepared: Any) -> list[Outcome]:
        """Compute what :meth:`prepare` made; outcomes in the order of its rows.

        Raises:
            PredictionFailed: some row made the model raise
            OutOfMemory: the batch does not fit
            DeviceLost: nothing on this device can be saved
        """


class UnknownBackend(Exception):
    """The model asks for a backend that this predictor does not have."""
