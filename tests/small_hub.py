"""A stand-in for the Hugging Face hub: one model at one revision, from a folder, over HTTP."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer
from threading import Thread


@contextmanager
def small_hub(folder: Path, *, commit: str, kept: str = "") -> Iterator[str]:
    """Serve ``folder`` as whatever model is asked for; its URL. ``kept`` is listed, not given."""
    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), _answering(folder, commit, kept))) as url:
        yield url


@contextmanager
def small_answer(reply: bytes) -> Iterator[str]:
    """Send these bytes as the answer to any request, and hang up; the URL."""

    class Same(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(reply)

    with _serving(ThreadingTCPServer(("127.0.0.1", 0), Same)) as url:
        yield url


@contextmanager
def _serving(server: TCPServer) -> Iterator[str]:
    thread = Thread(target=server.serve_forever, name="small hub")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answering(folder: Path, commit: str, kept: str) -> type[BaseHTTPRequestHandler]:
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    tree = [
        {"type": "file", "path": name, "size": len(body), "oid": _blob(body)}
        for name, body in files.items()
    ]
    files.pop(kept, None)
    listings = {"revision": {"id": "a/model", "sha": commit}, "tree": tree}

    class Hub(BaseHTTPRequestHandler):
        """``/api/models/<owner>/<name>`` describes it, and lists its files with ``/tree/…`` behind.

        ``…/resolve/…/<file>`` is one of them.
        """

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *_: object) -> None:
            """Nothing: a test reads its own output."""

        def _answer(self, *, with_body: bool) -> None:
            if self.path.startswith("/api/models/"):
                (what, *_) = [*self.path.split("/")[5:], "revision"]
                body: bytes | None = json.dumps(listings[what]).encode()
            else:
                body = files.get(self.path.partition("/resolve/")[2].partition("/")[2])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{_blob(body or b"")}"')
            if body is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            if with_body and body:
                self.wfile.write(body)

    return Hub


def _blob(body: bytes) -> str:
    """Its name in Git."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
