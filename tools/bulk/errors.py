"""Why a run ends before its last line.

    BulkError
    ├── Unusable             the command must change; exit status 2
    │   ├── UnfitInput       INPUT cannot be read line by line
    │   ├── UnfitOutput      OUTPUT is not of this INPUT, or somebody else writes it
    │   └── RequestRefused   the service refuses every such request
    └── GaveUp               the service may be well later; exit status 1

What is wrong with one row is no error here: it stands in OUTPUT, at its line.
"""

from typing import ClassVar


class BulkError(Exception):
    """Root of the tree; ``status`` is the command's exit status."""

    status: ClassVar[int]


class Unusable(BulkError):
    """The same command would end in the same way again."""

    status = 2


class UnfitInput(Unusable):
    """INPUT is no file of lines, each a row."""


class UnfitOutput(Unusable):
    """Going on in OUTPUT would spoil what is there."""


class RequestRefused(Unusable):
    """No such model, or a parameter that is not taken: every job would be refused."""


class GaveUp(BulkError):
    """Nothing moved for as long as the caller has patience."""

    status = 1

    def __init__(self, patience_s: float, trouble: str) -> None:
        super().__init__(
            f"nothing moved for {patience_s:g} s ({trouble}): see to the service, "
            "or wait longer with --patience"
        )
