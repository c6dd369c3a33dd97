"""Say in words what a setting takes and what is wrong with it.

Pure: knows how settings are declared, not which exist, and reads no environment. The
value of a secret never enters a sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

_KINDS: Final[dict[object, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
}


@dataclass(frozen=True, slots=True)
class Takes:
    """Declares, beside a field's type, what it takes when type and bounds do not say it."""

    words: str


def variables(settings_class: type[BaseSettings]) -> Mapping[str, FieldInfo]:
    """The environment variables of a settings class, without those of a class inside it."""
    prefix = settings_class.model_config["env_prefix"]
    return {
        f"{prefix}{name}".upper(): field
        for name, field in settings_class.model_fields.items()
        if not _is_settings(field.annotation)
    }


def takes(field: FieldInfo) -> str:
    """What a field takes: ``a whole number from 1 to 65535``."""
    for mark in field.metadata:
        if isinstance(mark, Takes):
            return mark.words
    annotation = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        *others, last = get_args(annotation)
        return f"{', '.join(others)} or {last}"
    return _KINDS.get(annotation, "text") + _bounds(field)


def default(field: FieldInfo) -> str:
    """The default as one would write it, empty where there is none."""
    match field.default:
        case None:
            return ""
        case bool() as switch:
            return str(switch).lower()
        case SecretStr() as secret:
            return secret.get_secret_value()
        case tuple() as parts:
            return ":".join(str(part) for part in parts)
        case value:
            return str(value)


def worded(error: ErrorDetails, settings_class: type[BaseSettings]) -> str:
    """One sentence for one validation error: the setting, its value and the remedy."""
    reason = str(error.get("ctx", {}).get("error", ""))
    if not error["loc"]:  # settings that contradict each other: the check names both remedies
        return reason
    name = f"{settings_class.model_config['env_prefix']}{error['loc'][0]}".upper()
    field = variables(settings_class)[name]
    shown = "" if "SecretStr" in str(field.annotation) else f"={error['input']}"
    because = f" ({reason})" if reason else ""
    fallback = default(field)
    or_nothing = f"; unset it for the default, {fallback}" if fallback else ""
    return f"{name}{shown}{because}: write {takes(field)} ({field.description}){or_nothing}"


def unknown_name(name: str, *, known: Sequence[str], prefixes: Sequence[str]) -> str:
    """One sentence for a variable that no service reads, with the nearest that one does."""
    # Compared without PENSTOCK_, which all have in common and which would outweigh the rest.
    near = get_close_matches(_tail(name.upper()), map(_tail, known), n=1, cutoff=0.75)
    near_prefix = get_close_matches(name.upper(), prefixes, n=1, cutoff=0.75)
    if near:
        remedy = f"write PENSTOCK_{near[0]}"
    elif near_prefix:
        remedy = f"names there begin with {near_prefix[0]}, docs/settings.md has them all"
    else:
        remedy = "unset it, docs/settings.md has every name"
    return f"{name} is not a setting: {remedy}"


def _tail(name: str) -> str:
    return name.removeprefix("PENSTOCK_")


def _is_settings(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseSettings)


def _without_none(annotation: object) -> object:
    arms = [arm for arm in get_args(annotation) if arm is not type(None)]
    return arms[0] if type(None) in get_args(annotation) and len(arms) == 1 else annotation


def _bounds(field: FieldInfo) -> str:
    low = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
    above = next((mark.gt for mark in field.metadata if isinstance(mark, Gt)), None)
    high = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
    below = next((mark.lt for mark in field.metadata if isinstance(mark, Lt)), None)
    words = {"from": low, "above": above, "to": high, "below": below}
    if high is None and below is None and low is not None:
        words = {"of at least": low}
    return "".join(f" {word} {bound}" for word, bound in words.items() if bound is not None)
