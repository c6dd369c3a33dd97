"""When a drain is over before all is finished."""

import pytest

from shared.contract import EntryId
from shared.queue.drain import GraceRanOut, NothingToFinish, bound_the_drain
from shared.queue.patience import Patience


class Drain:
    """One model's."""

    def __init__(self, *, away: bool, begun: int = 0) -> None:
        self.patience = Patience(went_away=lambda: None)
        self.patience.away = away
        self._begun = [EntryId(f"interactive:{n}-0") for n in range(begun)]

    def begun(self) -> list[EntryId]:
        return self._begun


@pytest.mark.parametrize(
    ("servings", "ends"),
    [
        ([Drain(away=True), Drain(away=True)], NothingToFinish),
        ([Drain(away=True), Drain(away=True, begun=1)], GraceRanOut),
        ([Drain(away=True), Drain(away=False)], GraceRanOut),
        ([], GraceRanOut),  # nothing that could say that Redis is away
    ],
)
async def test_a_drain_is_over_at_once_only_without_redis_and_with_nothing_begun(
    servings: list[Drain], ends: type[Exception]
) -> None:
    with pytest.raises(ends):
        await bound_the_drain(lambda: servings, grace_s=0.05)
