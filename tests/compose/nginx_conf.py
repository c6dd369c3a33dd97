"""Just enough of NGINX's configuration language to ask a file what it says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TOKEN: Final = re.compile(
    r"""\s+ | \#[^\n]* | (?P<end>[;{}]) | "(?P<double>[^"]*)" | '(?P<single>[^']*)'
    | (?P<bare>[^\s;{}"']+)""",
    re.VERBOSE,
)
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_BYTES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive: its name and arguments, and what its braces hold."""

    words: tuple[str, ...]
    inside: list["Directive"] = field(default_factory=list)

    def all(self, *words: str) -> Iterator["Directive"]:
        """Every directive at any depth that begins with these words."""
        for each in self.inside:
            if each.words[: len(words)] == words:
                yield each
            yield from each.all(*words)

    def one(self, *words: str) -> "Directive":
        found = list(self.all(*words))
        assert len(found) == 1, f"{len(found)} of {' '.join(words)}"
        return found[0]

    @property
    def value(self) -> str:
        """The first argument."""
        return self.words[1]

    def table(self) -> dict[str, str]:
        """What a ``map`` holds: the value for each key."""
        return {row.words[0]: row.words[1] for row in self.inside}


def parse(path: Path) -> Directive:
    root = Directive(("root",))
    open_blocks, words = [root], list[str]()
    for token in _TOKEN.finditer(path.read_text()):
        match token["end"]:
            case "}":
                open_blocks.pop()
            case ";" | "{":
                directive = Directive(tuple(words))
                open_blocks[-1].inside.append(directive)
                if token["end"] == "{":
                    open_blocks.append(directive)
                words = []
            case _:
                kinds = (token["bare"], token["double"], token["single"])
                words += [text for text in kinds if text is not None]
    assert open_blocks == [root], "braces do not match"
    return root


def milliseconds(text: str) -> int:
    """``130s`` and its like, as NGINX and compose write them."""
    amount, unit = re.fullmatch(r"(\d+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return int(amount) * _MILLISECONDS[unit]


def size_bytes(text: str) -> int:
    amount, unit = re.fullmatch(r"(\d+)([kmg]?)", text).groups()  # type: ignore[union-attr]
    return int(amount) * _BYTES[unit]
