"""The added and special tokens of a checkpoint, as transformers gathers and adds them.

They come from ``tokenizer_config.json``, from two files of older releases, and from
``tokenizer.json``; which of them counts, and in which order they are added, decides on ids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from shared.checkpoint import ADDED_TOKENS, SPECIAL_TOKENS, read_json

Token = str | AddedToken

NAMES: Final = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_OLD_EXTRA: Final = "additional_special_tokens"
_EXTRA: Final = "extra_special_tokens"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the files say of them."""

    named: Mapping[str, Token | None]
    """By name, the standard ones and the model's own ``*_token``; None where a file says null."""
    extra: tuple[Token, ...] | None
    """None: nothing is said of them."""
    added: tuple[AddedToken, ...]
    """In the order of the ids that they had."""


def read_tokens(folder: Path, stated: Mapping[str, Any], backend: Tokenizer) -> Tokens:
    """``stated`` is ``tokenizer_config.json``; ``backend`` is ``tokenizer.json``, as it is.

    Raises:
        ModelRefused, TypeError, ValueError: a token is written in no form that is known
    """
    said = dict(stated)
    if _OLD_EXTRA in said and not said.get(_EXTRA):
        said[_EXTRA] = said.pop(_OLD_EXTRA)
    own = said.pop(_EXTRA) if isinstance(said.get(_EXTRA), dict) else {}
    if "added_tokens_decoder" in said:
        by_id = {int(at): AddedToken(**token) for at, token in said["added_tokens_decoder"].items()}
    else:
        by_id = _of_old_files(folder, said) | backend.get_added_tokens_decoder()
    by_content = {token.content: token for token in by_id.values()}
    named: dict[str, Token | None] = {
        name: _token(value)
        for name, value in {**said, **own}.items()
        if name.endswith("_token") and isinstance(value, str | dict | AddedToken | None)
    }
    for name in NAMES:
        token = named.get(name)
        if token is not None:
            named[name] = by_content.get(str(token), token)
    extra = said.get(_EXTRA, said.get(_OLD_EXTRA))
    return Tokens(
        named=named,
        extra=None if extra is None else tuple(_required(token) for token in extra),
        added=tuple(by_id[at] for at in sorted(by_id)),
    )


def add_tokens(
    backend: Tokenizer,
    named: Mapping[str, Token | None],
    extra: Iterable[Token],
    added: Iterable[AddedToken],
) -> None:
    """The added ones, then those of the others that are not among them."""
    wanted: list[Token] = list(added)
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    known |= {str(token) for token in wanted}
    special = [token for token in _in_order(named) if token is not None]
    for token in (*special, *extra):
        if str(token) not in known and token not in wanted:
            wanted.append(token)
    contents = {str(token) for token in special}
    backend.add_tokens([_as_special(token, contents) for token in wanted])


def add_again(
    backend: Tokenizer, named: Mapping[str, Token | None], extra: Iterable[Token], *, plain: bool
) -> None:
    """The special ones once more; ``plain``: without the flags that their files give them."""
    backend.add_special_tokens(
        [
            AddedToken(str(token), special=True) if plain or isinstance(token, str) else token
            for token in (*_in_order(named), *extra)
            if token is not None
        ]
    )


def _in_order(named: Mapping[str, Token | None]) -> list[Token | None]:
    own = [token for name, token in named.items() if name not in NAMES]
    return [named.get(name) for name in NAMES] + own


def _as_special(token: Token, special: set[str]) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=True)
    if not token.special and token.content in special:
        token.special = True
    return token


def _of_old_files(folder: Path, said: dict[str, Any]) -> dict[int, AddedToken]:
    """Those of ``added_tokens.json``; what ``special_tokens_map.json`` says goes into ``said``."""
    for name, value in read_json(folder / SPECIAL_TOKENS, dict[str, Any], optional=True).items():
        if name == _EXTRA and isinstance(value, list):
            had = [_required(token) for token in said.get(_EXTRA) or ()]
            more = [_required(token) for token in value]
            said[name] = had + [token for token in more if token not in had]
        elif isinstance(value, dict):
            said[name] = AddedToken(**{**value, "special": True})
        else:
            said[name] = value
    special = {str(_token(said[name])) for name in NAMES if said.get(name)}
    special |= {str(token) for token in said.get(_EXTRA) or ()}
    return {
        at: AddedToken(content, normalized=content not in special, special=content in special)
        for content, at in read_json(folder / ADDED_TOKENS, dict[str, int], optional=True).items()
    }


def _token(value: Any) -> Token | None:
    if isinstance(value, dict):
        return AddedToken(**{name: one for name, one in value.items() if name != "__type"})
    return value  # type: ignore[no-any-return]


def _required(value: Any) -> Token:
    token = _token(value)
    if not isinstance(token, str | AddedToken):
        raise TypeError(f"{value!r} is no token")
    return token
