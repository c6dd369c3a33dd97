"""A file of rows through a running Penstock, in jobs of its bulk lane.

    python -m tools.bulk reviews.jsonl answers.jsonl --url http://127.0.0.1:8000

INPUT has one JSON value on each line: a text, a list of numbers, an object by feature, or
``{"id": …, "input": <one of these>}``. OUTPUT gets a line for each, in the same order:
``{"line": 1, "id": …, "output": {…}}``, or ``"error": {"code", "detail"}`` in the output's place.

Run it again after an interruption: what is in OUTPUT stays, what the service has computed
meanwhile is found there, and the rest follows. Exit status: 0 all lines are in OUTPUT, errors of
rows among them · 1 the service did not answer, go on later · 2 nothing will come of it as it
stands · 130 interrupted.
"""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import httpx

from tools.bulk.errors import BulkError, UnfitInput, UnfitOutput
from tools.bulk.lines import Asked, bundles, count_lines, read_lines
from tools.bulk.output import remaining, take_up
from tools.bulk.patience import Patience
from tools.bulk.progress import Progress, say
from tools.bulk.run import Run
from tools.bulk.service import Service, open_client

_INTERRUPTED: Final = 130
_UNUSABLE: Final = 2


def main() -> int:
    """See a file through, or say why not and how to go on."""
    arguments = _parser().parse_args()
    try:
        with _open_input(arguments.input) as given, _open_output(arguments.output) as output:
            _bulk(given, output, arguments)
    except KeyboardInterrupt:
        why, status = "interrupted", _INTERRUPTED
    except BulkError as error:
        why, status = str(error), error.status
    except OSError as error:
        why, status = str(error), 1
    else:
        return 0
    say(sys.stderr, f"bulk: {why}")
    if status != _UNUSABLE:
        say(sys.stderr, f"bulk: go on with python -m tools.bulk {shlex.join(sys.argv[1:])}")
    return status


def _bulk(given: BinaryIO, output: BinaryIO, arguments: argparse.Namespace) -> None:
    total = count_lines(given)
    given.seek(0)
    kept = take_up(output, total=total)
    left = remaining(bundles(read_lines(given), most_rows=arguments.rows), kept)
    patience = Patience(arguments.patience)
    progress = Progress(sys.stderr, patience, total=total, kept=kept.lines)

    asked = Asked(arguments.model, arguments.version, arguments.top_k, arguments.truncate)

    async def run() -> None:
        async with open_client(arguments.url, most_jobs=arguments.jobs) as client:
            service = Service(client, patience)
            window = Run(
                service, output, kept=kept.lines, most_jobs=arguments.jobs, progress=progress
            )
            async with patience.limit():
                await window.run(left, asked)

    try:
        if kept.lines < total:
            asyncio.run(run())
    finally:
        progress.end()


def _open_input(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():
        raise UnfitInput(f"INPUT is {path}, which is no file, and it is read twice: name a file")
    try:
        return path.open("rb")
    except OSError as exc:
        raise UnfitInput(f"INPUT cannot be read: {exc}") from exc


def _open_output(path: Path) -> BinaryIO:
    try:
        return path.open("a+b")
    except OSError as exc:
        raise UnfitOutput(f"OUTPUT cannot be written: {exc}") from exc


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bulk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=Path, metavar="INPUT.jsonl")
    parser.add_argument("output", type=Path, metavar="OUTPUT.jsonl")
    parser.add_argument("--url", type=_url, default="http://127.0.0.1:8000", help="a gateway")
    parser.add_argument("--model", help="its name; the default one unless it is named")
    parser.add_argument("--version", help="of the model; its default one unless it is named")
    parser.add_argument("--rows", type=_at_least(1), default=64, help="rows in one job (64)")
    parser.add_argument("--jobs", type=_at_least(1), default=8, help="jobs in flight (8)")
    parser.add_argument("--top-k", type=_at_least(1), default=1, help="labels in `top` (1)")
    parser.add_argument("--truncate", action="store_true", help="cut rows that are too long")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds without progress to give up (300)"
    )
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return whole_number


def _url(text: str) -> str:
    try:
        parts = httpx.URL(text)
    except httpx.InvalidURL as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.host:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// or https:// URL with a host")
    return text


if __name__ == "__main__":
    sys.exit(main())
