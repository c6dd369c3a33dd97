"""The one thread that loads models, warms them up and computes, and each model's seat at it.

One and the same for all: a second thread that had computed would leave OpenMP more threads than
cores, and it then sleeps between operators. 20 tokens took 2.9 ms instead of 1.7. The thread goes
from one forward to the next by itself; whose is next, :mod:`services.predictor.turns` says.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from time import monotonic
from typing import Any

from services.predictor.turns import Turns
from shared.contract import ModelKey

_Work = tuple[Future[Any], Callable[[], Any]]


class DeviceThread:
    """Runs what its seats hand in, one at a time."""

    def __init__(self) -> None:
        self._lines: dict[ModelKey, deque[_Work]] = {}
        self._turns = Turns()
        self._lock = threading.Lock()
        self._handed_in: SimpleQueue[bool] = SimpleQueue()
        """One entry for each work that waits; False ends the thread."""
        self._busy_s: dict[ModelKey, float] = {}
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def seat(self, model: ModelKey) -> "Seat":
        """A model's place; one for each."""
        with self._lock:
            self._lines[model] = deque()
            self._busy_s[model] = 0.0
        return Seat(self, model)

    def busy_s(self, *, besides: ModelKey) -> float:
        """Seconds that the thread has computed for the other models."""
        with self._lock:
            return sum(busy_s for model, busy_s in self._busy_s.items() if model != besides)

    def hand_in(self, model: ModelKey, call: Callable[[], Any]) -> Future[Any]:
        """Have it run, when it is the model's turn."""
        work: Future[Any] = Future()
        with self._lock:
            line = self._lines[model]
            if not line:
                self._turns.arrive(model)
            line.append((work, call))
        self._handed_in.put(True)
        return work

    def give_up(self, model: ModelKey) -> None:
        """Its seat is free; what it had handed in and not got is canceled."""
        with self._lock:
            for work, _ in self._lines.pop(model, ()):
                work.cancel()
            self._busy_s.pop(model, None)
            self._turns.leave(model)

    def close(self) -> None:
        """End the thread, after what it runs."""
        self._handed_in.put(False)

    def _run(self) -> None:
        while self._handed_in.get():
            self._run_next()

    def _run_next(self) -> None:
        """In a frame of its own: while the thread waits it holds nothing of any model."""
        taken = self._take()
        if taken is not None:
            model, (work, call) = taken
            started_at = monotonic()
            _settle(work, call)
            self._spent(model, monotonic() - started_at)

    def _take(self) -> tuple[ModelKey, _Work] | None:
        with self._lock:
            waiting = [model for model, line in self._lines.items() if line]
            if not waiting:
                return None  # its model has given up its seat
            model = self._turns.next_of(waiting)
            return model, self._lines[model].popleft()

    def _spent(self, model: ModelKey, seconds: float) -> None:
        with self._lock:
            self._turns.spent(model, seconds)
            if model in self._busy_s:
                self._busy_s[model] += seconds


class Seat:
    """One model's place at the device."""

    def __init__(self, thread: DeviceThread, model: ModelKey) -> None:
        self._thread = thread
        self._model = model

    def hand_in(self, call: Callable[[], Any]) -> Future[Any]:
        """Have it run on the device's thread, when it is this model's turn."""
        return self._thread.hand_in(self._model, call)

    def others_busy_s(self) -> float:
        """Seconds that the device has computed for others."""
        return self._thread.busy_s(besides=self._model)

    def give_up(self) -> None:
        """Nothing more will come."""
        self._thread.give_up(self._model)


def _settle(work: Future[Any], call: Callable[[], Any]) -> None:
    if not work.set_running_or_notify_cancel():
        return
    try:
        work.set_result(call())
    except BaseException as error:  # noqa: BLE001 -- it is raised where it is awaited
        work.set_exception(error)
