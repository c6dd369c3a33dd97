"""Write ``docs/settings.md`` from the declarations: ``python -m tools.settings_table``.

The page says nothing that the fields do not; a test asserts that it is current.
"""

from pathlib import Path
from typing import Final

from pydantic_settings import BaseSettings

from services.gateway.settings import GatewaySettings
from services.local.settings import LocalSettings
from services.predictor.settings import PredictorSettings
from services.preprocess.settings import PreprocessSettings
from shared.settings import SharedSettings
from shared.settings_words import default, takes, variables

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

ROOMS: Final[dict[str, type[BaseSettings]]] = {
    "Every service": SharedSettings,
    "Gateway": GatewaySettings,
    "Predictor": PredictorSettings,
    "Preprocess worker": PreprocessSettings,
    "One machine (`make run`)": LocalSettings,
}

INTRODUCTION: Final = """\
# Settings

Environment variables, read once at start. An unset or empty one takes its default. A wrong
value, two that contradict each other or a misspelt name refuses to start, with exit status 2
and what to write instead.

`make run` takes the commonest as its own words: `PREDICTORS` and `GATEWAYS` (how many),
`MODEL` (`PENSTOCK_MODEL`), `PORT` (`PENSTOCK_GATEWAY_PORT`), `DATA` (`PENSTOCK_LOCAL_DATA`).
It sets `PENSTOCK_GATEWAY_FD`, an ops port for each predictor (counted up from
`PENSTOCK_OPS_PORT` where that is set) and preprocess worker and, unless you do,
`PENSTOCK_REDIS_URL` and each predictor's share of the CPU threads.

Written by `python -m tools.settings_table`.
"""


def page() -> str:
    """The whole of ``docs/settings.md``."""
    return "\n".join([INTRODUCTION, *(section(*room) for room in ROOMS.items())])


def section(title: str, settings_class: type[BaseSettings]) -> str:
    """One service's settings as a Markdown table."""
    rows = [
        f"| `{name}` | {field.description} | {takes(field)} | {_code(default(field))} |"
        for name, field in variables(settings_class).items()
    ]
    head = ["| setting | what | takes | default |", "| --- | --- | --- | --- |"]
    return "\n".join([f"## {title}", "", *head, *rows, ""])


def _code(value: str) -> str:
    return f"`{value}`" if value else "none"


if __name__ == "__main__":
    PAGE.write_text(page())
