"""The parts of ``tools.bulk``: lines, bundles, verdicts, OUTPUT, and a service that has moods."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bulk.errors import GaveUp, RequestRefused, UnfitInput, UnfitOutput
from tools.bulk.lines import Asked, Line, body_of, bundles, count_lines, job_id, parse, read_lines
from tools.bulk.output import Kept, remaining, take_up
from tools.bulk.patience import Patience
from tools.bulk.progress import Tally
from tools.bulk.service import Service
from tools.bulk.verdicts import Fine, Later, Lost, RowsRefused, judge

ASKED = Asked(model="stand-in", version="1")


def lines(*rows: object) -> list[Line]:
    return [parse(number, json.dumps(row).encode()) for number, row in enumerate(rows, start=1)]


# --- lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "row"),
    [
        (b'"a text"', b'"a text"'),
        (b"[5.1, 3.5]", b"[5.1, 3.5]"),
        (b'{"width": 2}', b'{"width": 2}'),
        (b'{"input": [1], "id": 7}', b"[1]"),
        (b'{"id": 1, "input": 2, "width": 3}', b'{"id": 1, "input": 2, "width": 3}'),
    ],
)
def test_a_row_stays_the_json_that_it_was(raw: bytes, row: bytes) -> None:
    line = parse(1, raw)

    assert line.row == row
    assert line.error is None


@pytest.mark.parametrize(
    "raw",
    [b'"a", "b"', b'"a', b"NaN", b'"\xff"', b'"\\ud800"', b"7", b"null", b'{"id":1,"input":true}'],
)
def test_what_is_no_row_keeps_its_place_and_a_reason(raw: bytes) -> None:
    line = parse(3, raw)

    assert line.number == 3
    assert line.error is not None
    assert line.error.code == "invalid_line"


def test_lines_are_counted_whether_the_last_one_ends_or_not() -> None:
    assert count_lines(io.BytesIO(b'"a"\n"b"\r\n')) == 2
    assert count_lines(io.BytesIO(b'"a"\n"b"')) == 2
    assert count_lines(io.BytesIO(b"")) == 0


def test_a_blank_line_is_named() -> None:
    with pytest.raises(UnfitInput, match="line 2 of INPUT is blank"):
        list(read_lines(io.BytesIO(b'"a"\n\n"b"\n')))


@given(
    rows=st.lists(st.text(max_size=12), max_size=40),
    most_rows=st.integers(1, 9),
    most_bytes=st.integers(1, 60),
)
def test_bundles_have_every_line_once_in_order_and_within_bounds(
    rows: list[str], most_rows: int, most_bytes: int
) -> None:
    cut = list(bundles(lines(*rows), most_rows=most_rows, most_bytes=most_bytes))

    assert [line for bundle in cut for line in bundle] == lines(*rows)
    for bundle in cut:
        assert 1 <= len(bundle) <= most_rows
        assert len(bundle) == 1 or sum(len(line.row) for line in bundle) <= most_bytes


def test_an_id_says_what_is_asked_and_where_it_stands() -> None:
    a, b, again = lines("a", "b", "a")

    def id_of(*rows: Line, asked: Asked = ASKED) -> object:
        return job_id(rows, body_of(rows, asked))

    assert id_of(a, b) == id_of(*lines("a", "b"))
    others = [id_of(a), id_of(again), id_of(a, b), id_of(a, asked=Asked("stand-in", "2"))]
    others += [id_of(a, asked=Asked("stand-in", "1", top_k=2))]
    assert len(set(others)) == len(others)


# --- OUTPUT ---------------------------------------------------------------------------------

WHOLE = b'{"line":1,"output":{}}\n{"line":2,"id":"x","error":{"code":"c","detail":"d"}}\n'


@pytest.mark.parametrize("torn", [b"", b"{", b'{"line":3', b'{"line":3,"output":{"ec'])
def test_a_torn_line_is_cut_off_and_whole_ones_stay(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "output"
    path.write_bytes(WHOLE + torn)

    with path.open("a+b") as output:
        kept = take_up(output, total=5)

    assert kept.lines == 2
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (b'"a text"\n', "line 1 of OUTPUT was not written by this command"),
        (b'"a text', "ends with a line of something else"),
        (WHOLE + b'{"line":4,', "ends with a line of something else"),
        (b'{"line":2,"output":{}}\n', "has 1 lines, its last one is for line 2"),
        (WHOLE + b'{"line":3,"output":{}}\n', "OUTPUT has 3 lines, INPUT only 2"),
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, found: bytes, why: str) -> None:
    path = tmp_path / "output"
    path.write_bytes(found)

    with path.open("a+b") as output, pytest.raises(UnfitOutput, match=why):
        take_up(output, total=2)

    assert path.read_bytes() == found


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("a+b") as first, path.open("a+b") as second:
        take_up(first, total=1)

        with pytest.raises(UnfitOutput, match="another run writes OUTPUT"):
            take_up(second, total=1)


def test_an_interrupted_bundle_is_asked_for_as_a_whole() -> None:
    cut = bundles(lines(*"abcde"), most_rows=2)

    left = list(remaining(cut, Kept(3)))

    assert [line.number for bundle in left for line in bundle] == [3, 4, 5]


def test_an_output_with_another_id_belongs_to_another_input() -> None:
    rows = lines({"id": 1, "input": "a"}, {"id": 2, "input": "b"}, "c")
    ours, others = parse(1, b'{"id": 2, "input": ""}').id, parse(1, b'{"id": 3, "input": ""}').id

    assert list(remaining([rows], Kept(2, ours))) == [rows]
    with pytest.raises(UnfitOutput, match="line 2 of OUTPUT has another id"):
        list(remaining([rows], Kept(2, others)))


# --- verdicts -------------------------------------------------------------------------------


def problem(code: str, detail: str = "a reason") -> bytes:
    return json.dumps({"code": code, "detail": detail, "status": 0}).encode()


def test_every_status_means_something() -> None:
    form = "body does not have the documented form: Expected `str`, got `array` - at "

    assert judge(202, b"{}", retry_after=None) == Fine(b"{}")
    assert judge(404, problem("job_not_found"), retry_after=None) == Lost()
    assert judge(429, problem("overloaded"), retry_after="7") == Later("429: a reason", 7.0)
    assert judge(503, b"<html>", retry_after="a date") == Later("503: <html>", None)
    for status, code in ((422, "input_too_long"), (413, "body_too_large"), (400, "malformed_body")):
        assert isinstance(judge(status, problem(code), retry_after=None), RowsRefused)
    in_a_row = problem("invalid_request", f"{form}`$.inputs[3]`")
    assert isinstance(judge(422, in_a_row, retry_after=None), RowsRefused)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, problem("unknown_model")),
        (415, problem("unsupported_media_type")),
        (301, b""),
        (422, problem("invalid_request", "body does not have the documented form: `$.parameters`")),
    ],
)
def test_what_no_row_can_help_ends_the_run(status: int, body: bytes) -> None:
    with pytest.raises(RequestRefused, match=str(status)):
        judge(status, body, retry_after=None)


# --- a service with moods -------------------------------------------------------------------

Mood = Callable[[httpx.Request], httpx.Response]


def record(state: str, outputs: list[Any] | None = None, *, status: int = 200) -> Mood:
    known = {"state": state, "counts": {"succeeded": 0, "failed": 0}}
    return lambda _: httpx.Response(
        status, json=known if outputs is None else known | {"outputs": outputs}
    )


def refusal(status: int, code: str, **headers: str) -> Mood:
    return lambda _: httpx.Response(
        status, headers=headers, json={"code": code, "detail": "a reason"}
    )


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("the connection broke", request=request)


class Moody(httpx.MockTransport):
    """Answers with what it is told, in turn; remembers what it was asked."""

    def __init__(self, *moods: Mood) -> None:
        super().__init__(self._answer)
        self.asked: list[str] = []
        self._moods = iter(moods)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.query.decode()}".strip())
        return next(self._moods)(request)


async def ask(
    transport: httpx.AsyncBaseTransport, *rows: object, patience_s: float = 30.0
) -> list[object]:
    """Each row's output, or its error's code."""
    patience = Patience(patience_s)
    client = httpx.AsyncClient(transport=transport, base_url="http://mood")
    async with client, patience.limit():
        found = await Service(client, patience).outcomes(lines(*rows), ASKED)
    return [one.error.code if one.error else json.loads(bytes(one.output or b"")) for one in found]


async def test_a_broken_connection_and_a_full_queue_are_outwaited() -> None:
    full = refusal(429, "overloaded", **{"Retry-After": "0"})
    service = Moody(broken, full, refusal(503, "draining"), record("succeeded", [{"echo": "a"}]))

    assert await ask(service, "a") == [{"echo": "a"}]
    assert service.asked == ["PUT"] * 4


async def test_a_job_that_was_lost_is_submitted_again() -> None:
    service = Moody(
        record("queued", status=202),
        refusal(404, "job_not_found"),
        record("queued", status=202),
        record("running"),
        record("succeeded", [{"echo": "a"}]),
    )

    assert await ask(service, "a") == [{"echo": "a"}]
    assert service.asked == ["PUT", "GET wait=30", "PUT", "GET wait=30", "GET wait=30"]


async def test_a_job_whose_rows_are_not_counted_right_is_not_written() -> None:
    with pytest.raises(RequestRefused, match="has 1 outputs for 2 rows"):
        await ask(Moody(record("succeeded", [{"echo": "a"}])), "a", "b")


async def test_rows_that_are_refused_together_are_halved_until_each_stands_alone() -> None:
    refused = refusal(422, "input_too_long")
    service = Moody(refused, refused, record("succeeded", [{"echo": "b"}]))

    assert await ask(service, "a", "b") == ["input_too_long", {"echo": "b"}]


async def test_a_job_that_never_moves_ends_patience_and_is_named() -> None:
    transport = httpx.MockTransport(record("queued", status=202))

    with pytest.raises(GaveUp, match=r"/jobs/\S+ is queued, 0 rows of it done"):
        await ask(transport, "a", patience_s=0.3)


async def test_another_service_is_not_taken_for_a_penstock() -> None:
    patience = Patience(1.0)
    transport = Moody(lambda _: httpx.Response(200, text="<html>"))
    async with httpx.AsyncClient(transport=transport, base_url="http://mood") as client:
        with pytest.raises(RequestRefused, match="/models is not Penstock's"):
            await Service(client, patience).pinned(Asked())


# --- what is told ---------------------------------------------------------------------------


def test_a_tally_counts_what_was_there_apart() -> None:
    tally = Tally(total=100, kept=40, began_s=10.0, rows=20, errors=1)

    assert tally.line(now_s=12.0) == "60 of 100 rows, 10 rows/s, 1 errors, 0:00:04 left"
    assert tally.bar() == "[##############..........]"
    assert (
        tally.summary(now_s=12.0) == "20 rows, after 40 that were there, 1 errors, 2.0 s, 10 rows/s"
    )
