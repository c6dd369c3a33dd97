"""The composition root of the gateway: the only place that builds objects.

One task group owns every task; one that dies takes the process down, loudly, because a
gateway that no longer hears replies is worse than none.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from fastapi import APIRouter, FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from services.gateway import openapi, refusals
from services.gateway.admission import Admission
from services.gateway.answered import Answered
from services.gateway.answering import Answering
from services.gateway.asgi import BodyLimits, Endpoint
from services.gateway.dispatch import Dispatch, JobPolicy
from services.gateway.draining import Door, Drain, ServerControl
from services.gateway.entrance import Entrance
from services.gateway.following import Following, with_codecs
from services.gateway.http.cors import Cors
from services.gateway.http.head import HeadAsGet
from services.gateway.http.prefix import Prefixed
from services.gateway.jobs import Jobs
from services.gateway.keys import AdminKey
from services.gateway.large_work import LargeWork
from services.gateway.lateness import Lateness
from services.gateway.metrics import Metrics
from services.gateway.pending import Pending
from services.gateway.preferences import WaitLimits
from services.gateway.pulse import Pulse
from services.gateway.replies import ReplyReader
from services.gateway.routes.docs import docs_routes
from services.gateway.routes.jobs import job_routes
from services.gateway.routes.models import model_routes
from services.gateway.routes.native import NativeRoutes
from services.gateway.routes.ops import ops_routes
from services.gateway.routes.page import page_routes
from services.gateway.routes.serving import serving_routes
from services.gateway.routes.single import LabelRoute, single_routes
from services.gateway.routes.status import status_routes
from services.gateway.settings import GatewaySettings
from services.gateway.shortcut import Shortcut
from services.gateway.submitter import Submitter
from services.gateway.waiting import Holder
from services.preprocess.pool import PreprocessPool
from shared.catalogue import Catalogue
from shared.clock import RedisClock
from shared.contract import GatewayId
from shared.cores import usable_cores
from shared.errors import QueueUnavailable
from shared.queue.connection import connect
from shared.queue.jobs import JobQueue, SubmitPolicy
from shared.queue.wishes import Wishes
from shared.repository import Repository, open_configured

log: structlog.stdlib.BoundLogger = structlog.get_logger()

VERSION: Final = "0.1.0"
_TOKENIZING: Final = 2
"""Threads, unless a setting says otherwise."""
_LARGEST_WISH_BYTES: Final = 64 * 1024


class Gateway:
    """Every object of one gateway, under a name that no other start of any gateway has."""

    def __init__(
        self,
        settings: GatewaySettings,
        repository: Repository,
        *,
        name: GatewayId,
        server: ServerControl,
    ) -> None:
        self._settings = settings
        self._server = server
        self._redis = connect(settings.shared.redis_url.get_secret_value())
        self._queue = JobQueue(self._redis, gateway=name, policy=_submit_policy(settings))
        self._pool = PreprocessPool(settings.preprocess_threads or min(_TOKENIZING, usable_cores()))
        self._metrics = Metrics(version=VERSION)
        self._clock, self._pending = RedisClock(), Pending()
        silent_after_s = settings.shared.lease_ms / 1e3
        repository, self._codecs = with_codecs(repository)
        repository.check_default()
        self._repository = repository
        """As it was last read, with what is refused."""
        self._catalogue = Catalogue(repository)
        self._wishes = Wishes(self._redis, process=name)
        self._following = Following(
            self._wishes,
            self._catalogue,
            reopen=self._reopen,
            served=lambda model: self._pulse.predictors(model) > 0,
        )
        self._pulse = Pulse(
            self._queue,
            self._clock,
            catalogue_was_read=lambda: self._following.has_read,
            silent_after_s=silent_after_s,
        )
        self._replies = ReplyReader(
            self._queue, self._pending, reconnected=self._metrics.reconnected
        )
        self._watching = Submitter(self._queue, self._clock, watch=True)
        self._leaving = Submitter(self._queue, self._clock, watch=False)
        self._door = Door(most=settings.max_in_flight)
        grace_s = settings.drain_grace_ms / 1e3
        self._drain = Drain(self._door, self._pending, grace_s=grace_s, server=server)
        self._waits = WaitLimits(settings.wait_ms / 1e3, settings.longest_wait_ms / 1e3)
        self._large_work = LargeWork()
        self._admission = Admission(
            self._catalogue,
            self._codecs,
            max_inputs=settings.max_inputs,
            waits=self._waits,
            large_work=self._large_work,
        )
        self._holder = Holder(self._queue, self._replies, self._clock)
        self._answering = Answering(self._codecs)
        self._answered = Answered(self._queue, retention_ms=settings.shared.answered_retention_ms)
        self._dispatch = self._make_dispatch()
        self._jobs = Jobs(
            self._queue,
            answering=self._answering,
            pending=self._pending,
            holder=self._holder,
            pulse=self._pulse,
        )

    def _reopen(self) -> Repository:
        """Read the files again, in a thread, and open the codecs of what was not there before.

        Raises:
            ModelRefused: no model is left
        """
        before = self._repository
        read = open_configured(self._settings.shared, weights=False, before=before)
        self._repository, new = with_codecs(read, known=self._codecs, before=before)
        self._codecs.update(new)
        return self._repository

    async def look_at_redis(self) -> None:
        """Refuse a Redis that can never hold the queue.

        Raises:
            ServerUnfit
        """
        await self._pulse.look_first()

    def application(self) -> ASGIApp:
        """From the outside in: what holds for every request, the hot routes, the framework."""
        settings, hot = self._settings, self._hot_routes()
        app: ASGIApp = Shortcut(HeadAsGet(self._framework(hot)), hot)
        app = Entrance(app, door=self._door, metrics=self._metrics)
        if settings.root_path or settings.forwarded_prefix:
            app = Prefixed(app, fixed=settings.root_path, forwarded=settings.forwarded_prefix)
        return Cors(app, settings.cors_origins) if settings.cors_origins else app

    def _framework(self, hot: list[Route]) -> FastAPI:
        """All routes; the hot ones so that it can say which methods a path takes."""
        app = FastAPI(
            title="Penstock",
            version=VERSION,
            lifespan=self._lifespan,
            docs_url=None,  # they are ours: routes/docs.py
            redoc_url=None,
            redirect_slashes=False,
            telemetry={"tracing": False, "metrics": False, "logs": False},  # we have our own
        )
        app.router.routes[:0] = hot
        for router in self._cold_routes():
            app.include_router(router)
        refusals.install(app)
        takes = frozenset(type(spec.takes) for spec in self._catalogue.specs())
        read = openapi.Bodies(self._settings.max_inputs, takes)
        app.openapi = openapi.describe(  # type: ignore[method-assign]
            app, version=VERSION, bodies=read
        )
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._pulse.run(), name="pulse"),
                    tasks.create_task(self._following.run(), name="follow"),
                    tasks.create_task(self._replies.read(), name="replies"),
                    tasks.create_task(self._replies.look(), name="look"),
                    tasks.create_task(self._watching.run(), name="submit and watch"),
                    tasks.create_task(self._leaving.run(), name="submit"),
                    tasks.create_task(self._answered.run(), name="shorten"),
                    tasks.create_task(self._drain.run(), name="drain"),
                ]
                _on_signals(self._drain.begin)
                yield
                for task in running:
                    task.cancel()
        except* Exception as crash:
            log.exception("a task of the gateway died, the process ends", exc_info=crash)
            self._server.fail()
        await self._close()

    async def _close(self) -> None:
        self._pool.close()
        try:
            await self._answered.flush()
            await self._queue.close_replies()
        except QueueUnavailable:
            log.info("the reply stream is left to its time to live")
        await self._redis.aclose()

    def _make_dispatch(self) -> Dispatch:
        settings = self._settings
        return Dispatch(
            policy=JobPolicy(
                chunk_tokens=settings.chunk_tokens,
                chunk_rows=settings.chunk_rows,
                small_s=settings.small_ms / 1e3,
                most_tokens=_submit_policy(settings).tenant_limit_tokens,
                retention_ms=settings.shared.retention_ms,
            ),
            codecs=self._codecs,
            answering=self._answering,
            answered=self._answered,
            pool=self._pool,
            queue=self._queue,
            watching=self._watching,
            leaving=self._leaving,
            pending=self._pending,
            holder=self._holder,
            pulse=self._pulse,
            catalogue=self._catalogue,
            lateness=Lateness(),
            clock=self._clock,
            metrics=self._metrics,
            large_work=self._large_work,
        )

    def _hot_routes(self) -> list[Route]:
        settings = self._settings
        body = BodyLimits(settings.body_limit_bytes, settings.body_timeout_ms / 1e3)
        native = NativeRoutes(
            self._admission,
            self._dispatch,
            body=body,
            max_inputs=settings.max_inputs,
            metrics=self._metrics,
            large_work=self._large_work,
        )
        label = Endpoint(LabelRoute(native).answer)
        return [*native.routes(), Route("/predict/label", label, methods=["POST"])]

    def _cold_routes(self) -> tuple[APIRouter, ...]:
        max_inputs = self._settings.max_inputs
        return (
            page_routes(),
            docs_routes(),
            job_routes(self._jobs, longest_wait_s=self._waits.longest_s),
            model_routes(self._catalogue, self._admission, self._dispatch, max_inputs=max_inputs),
            single_routes(self._catalogue, self._admission, self._dispatch, max_inputs=max_inputs),
            status_routes(
                version=VERSION,
                catalogue=self._catalogue,
                wishes=self._wishes,
                queue=self._queue,
                pulse=self._pulse,
                door=self._door,
                last_read=lambda: self._repository,
            ),
            serving_routes(
                wishes=self._wishes,
                pulse=self._pulse,
                last_read=lambda: self._repository,
                reopen=self._reopen,
                admin=AdminKey(self._settings.the_admin_key()),
                body=BodyLimits(_LARGEST_WISH_BYTES, self._settings.body_timeout_ms / 1e3),
            ),
            ops_routes(
                door=self._door,
                pulse=self._pulse,
                pending=self._pending,
                metrics=self._metrics,
                queue=self._queue,
                catalogue=self._catalogue,
            ),
        )


def _submit_policy(settings: GatewaySettings) -> SubmitPolicy:
    limit_tokens = settings.queue_limit_tokens
    return SubmitPolicy(
        retention_ms=settings.shared.retention_ms,
        forward_limit_ms=settings.shared.forward_limit_ms,
        queue_limit_tokens=limit_tokens,
        tenant_limit_tokens=max(int(limit_tokens * settings.tenant_share), 1),
    )


def _on_signals(begin: Callable[[], None]) -> None:
    """Take SIGTERM and SIGINT over from the server, which would cut requests off."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, begin)
