"""One Penstock over HTTP: rows go in, their outcomes come back, however often it must be asked.

A job's id says what is in it, so that everything may be sent again. Knows jobs; nothing of files.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeVar

import httpx
import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from tools.bulk.errors import RequestRefused
from tools.bulk.lines import Asked, Line, RowError, body_of, job_id
from tools.bulk.output import Outcome
from tools.bulk.patience import Patience
from tools.bulk.verdicts import Fine, Later, Lost, RowsRefused, Verdict, judge

Settled = Fine | RowsRefused | Lost
_T = TypeVar("_T")

_WAIT_S: Final = 30
_SILENCE_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_HEADERS: Final = {"Content-Type": "application/json"}


class _Counts(msgspec.Struct, frozen=True):
    succeeded: int
    failed: int


class _Record(msgspec.Struct, frozen=True):
    state: str
    counts: _Counts
    outputs: list[Raw] | None = None

    @property
    def moved(self) -> tuple[bool, int]:
        """Grows while the job is worked on."""
        return self.state != "queued", self.counts.succeeded + self.counts.failed


class _Answered(msgspec.Struct, frozen=True):
    error: RowError | UnsetType = UNSET


class _Model(msgspec.Struct, frozen=True):
    name: str
    version: str


class _Catalogue(msgspec.Struct, frozen=True):
    default: str
    models: list[_Model]


_decode_answered: Final = msgspec.json.Decoder(_Answered).decode


def open_client(url: str, *, most_jobs: int) -> httpx.AsyncClient:
    """As many connections as there are jobs in flight; each has one request at a time."""
    return httpx.AsyncClient(
        base_url=url,
        trust_env=False,
        timeout=httpx.Timeout(_SILENCE_S, read=_WAIT_S + _SILENCE_S, pool=None),
        limits=httpx.Limits(max_connections=most_jobs, max_keepalive_connections=most_jobs),
    )


class Service:
    """Asks, waits and asks again."""

    def __init__(self, client: httpx.AsyncClient, patience: Patience) -> None:
        self._client = client
        self._patience = patience

    async def pinned(self, asked: Asked) -> Asked:
        """The same, of the version that is the model's default now: one run, one version.

        A model that the service does not know is left to it to refuse.
        """
        catalogue = await self._read("/models", _Catalogue)
        name = asked.model or catalogue.default
        versions = {model.name: model.version for model in catalogue.models}
        return replace(asked, model=name, version=asked.version or versions.get(name))

    async def outcomes(self, lines: Sequence[Line], asked: Asked) -> list[Outcome]:
        """One for each line.

        Raises:
            RequestRefused
        """
        rows = [line for line in lines if not line.error]
        answers = iter(await self._of_rows(rows, asked) if rows else ())
        return [Outcome(error=line.error) if line.error else next(answers) for line in lines]

    async def _of_rows(self, rows: Sequence[Line], asked: Asked) -> list[Outcome]:
        """Rows that are refused together are halved, until each that is refused stands alone."""
        outputs = await self._outputs(rows, asked)
        if not isinstance(outputs, RowsRefused):
            return [_outcome(raw) for raw in outputs]
        if len(rows) == 1:
            self._patience.moved()
            return [Outcome(error=outputs.error)]
        half = len(rows) // 2
        return await self._of_rows(rows[:half], asked) + await self._of_rows(rows[half:], asked)

    async def _outputs(self, rows: Sequence[Line], asked: Asked) -> list[Raw] | RowsRefused:
        """Submit a job and wait for its end; submit it again where it was lost."""
        body = body_of(rows, asked)
        path = f"/jobs/{job_id(rows, body)}"
        submit = partial(self._settled, "PUT", path, body)
        look = partial(self._settled, "GET", f"{path}?wait={_WAIT_S}")
        most, pause_s = (False, 0), 0.0
        answer = await submit()
        while not isinstance(answer, RowsRefused):
            if isinstance(answer, Fine):
                record = _read(answer, _Record, path)
                if record.outputs is not None:
                    return self._ended(record.outputs, rows, path)
                most = self._looked_at(record, most)
                self._patience.trouble = f"{path} is {record.state}, {most[1]} rows of it done"
            await asyncio.sleep(pause_s)  # not at once again where the service does not wait
            pause_s = _FIRST_PAUSE_S
            answer = await (submit() if isinstance(answer, Lost) else look())
        return answer

    def _looked_at(self, record: _Record, most: tuple[bool, int]) -> tuple[bool, int]:
        """How far the job has been seen to be; a job that is computed again has not moved."""
        if record.moved > most:
            self._patience.moved()
        return max(record.moved, most)

    def _ended(self, outputs: list[Raw], rows: Sequence[Line], path: str) -> list[Raw]:
        self._patience.moved()
        if len(outputs) != len(rows):
            raise RequestRefused(
                f"{path} has {len(outputs)} outputs for {len(rows)} rows: report it, and drop the "
                "job with DELETE"
            )
        return outputs

    async def _read(self, path: str, kind: type[_T]) -> _T:
        answer = await self._settled("GET", path)
        if not isinstance(answer, Fine):
            raise RequestRefused(f"{self._client.base_url} is no Penstock: name another with --url")
        return _read(answer, kind, path)

    async def _settled(self, method: str, path: str, body: bytes | None = None) -> Settled:
        """Ask until there is an answer; how long that may take is for ``Patience`` to say."""
        pause_s = _FIRST_PAUSE_S
        while isinstance(verdict := await self._once(method, path, body), Later):
            self._patience.trouble = verdict.why
            await asyncio.sleep(max(verdict.after_s or pause_s, _FIRST_PAUSE_S))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return verdict

    async def _once(self, method: str, path: str, body: bytes | None) -> Verdict:
        try:
            answer = await self._client.request(method, path, content=body, headers=_HEADERS)
        except httpx.TransportError as exc:
            return Later(f"{self._client.base_url}: {str(exc) or type(exc).__name__}")
        return judge(
            answer.status_code, answer.content, retry_after=answer.headers.get("Retry-After")
        )


def _read(answer: Fine, kind: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestRefused(
            f"the answer to {path} is not Penstock's ({exc}): name another service with --url"
        ) from exc


def _outcome(raw: Raw) -> Outcome:
    error = _decode_answered(raw).error
    return Outcome(output=raw) if isinstance(error, UnsetType) else Outcome(error=error)
