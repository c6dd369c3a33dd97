"""A server that accepts and never says a word, for tests of those who ask it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SilentServer:
    """Listens on a port of this machine and keeps every connection open."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._callers: list[socket.socket] = []
        self.called = threading.Event()
        """Set once there was a caller."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self) -> None:
        """Take callers in until the server is closed."""
        with suppress(OSError):
            while True:
                self._callers.append(self._listener.accept()[0])
                self.called.set()

    def close(self) -> None:
        """End ``accept``, and hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in (self._listener, *self._callers):
            each.close()


@contextmanager
def silent_server() -> Iterator[SilentServer]:
    """One that is there for the length of the block."""
    server = SilentServer()
    accepting = threading.Thread(target=server.accept)
    accepting.start()
    try:
        yield server
    finally:
        server.close()
        accepting.join()
