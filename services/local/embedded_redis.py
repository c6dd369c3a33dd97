"""The private redis-server of ``make run``: which one, over which data, with what promises.

Append-only, fsynced every second, on a unix socket in its data folder: nothing outside
this machine and this user reaches it. Never evicts: at the limit of its memory new jobs
are refused, before the kernel would end it. One run at a time over one folder,
and always the same major version: 7 and 6 do not read each other's append-only files,
started over the other's folder either comes up empty.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from services.local.keeper import Part
from services.local.memory import usable_memory_bytes
from services.local.probes import pong
from shared.settings import SettingsRefused

LONGEST_SOCKET_PATH_BYTES: Final = 107
"""``sun_path`` of a unix socket, without its final NUL."""

_GRACE_S: Final = 20.0
_MEMORY_SHARE: Final = 0.25
"""Of what may be used here: models need the most, and rewriting the file copies what changes."""
_MARKER: Final = "redis-version"
_APPEND_ONLY: Final = ("appendonly.aof", "appendonlydir")


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """A redis-server that may be started over its data folder: locked, and of its version."""

    server: Path
    version: str
    data: Path
    socket: Path
    lock_fd: int
    max_memory_bytes: int

    @property
    def url(self) -> str:
        """What the other parts are told as ``PENSTOCK_REDIS_URL``."""
        return f"unix://{quote(str(self.socket))}"

    def part(self) -> Part:
        """How to start it. It inherits the lock, which so lasts as long as anybody writes."""
        options = {
            "dir": str(self.data),
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": str(self.max_memory_bytes),
            "maxmemory-policy": "noeviction",
            "logfile": "redis.log",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Part(
            name="redis",
            command=(str(self.server), *words),
            ready=pong(self.socket),
            environ=os.environ,
            grace_s=_GRACE_S,
            pass_fds=(self.lock_fd,),
            hint=str(self.data / "redis.log"),
        )


@contextmanager
def embedded_redis(
    data: Path, chosen: Path | None, *, max_memory_bytes: int | None = None
) -> Iterator[EmbeddedRedis]:
    """Claim ``data`` for the length of the block; by default with a quarter of the memory here.

    Raises:
        SettingsRefused: no redis-server here, another run over ``data``, or another version's data
    """
    server = find_server(chosen)
    version = version_of(server)
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsRefused(f"PENSTOCK_LOCAL_DATA={data}: {error.strerror}") from error
    folder = data.resolve()
    with _locked(folder) as lock_fd, _socket_path(folder) as socket:
        _claim_for(version, folder)
        limit_bytes = max_memory_bytes or int(_MEMORY_SHARE * usable_memory_bytes())
        yield EmbeddedRedis(server, version, folder, socket, lock_fd, limit_bytes)


def find_server(chosen: Path | None) -> Path:
    """The redis-server that was named, else the installed wheel's, else the one on the PATH."""
    if chosen is not None:
        if not os.access(chosen, os.X_OK):
            raise SettingsRefused(f"PENSTOCK_LOCAL_REDIS_SERVER={chosen} is not an executable file")
        return chosen
    installed = Path(sys.executable).parent / "redis-server"
    found = installed if installed.exists() else shutil.which("redis-server")
    if found is None:
        raise SettingsRefused(
            "there is no redis-server here: install one (6.2 or newer), "
            "or set PENSTOCK_REDIS_URL to one that runs"
        )
    return Path(found)


def version_of(server: Path) -> str:
    """``6.2.14``, as the binary itself says."""
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SettingsRefused(f"{server} does not run: {error}") from error
    found = re.search(r"v=(\d+\.\d+\.\d+)", said.stdout)
    if found is None:
        raise SettingsRefused(f"{server} does not say its version: {said.stdout.strip()!r}")
    return found[1]


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    lock_fd = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock_fd, 20, 0).decode().strip()
            raise SettingsRefused(
                f"{folder} is in use by another run, process {holder}: stop that one (killed "
                "just now? its Redis is finishing, try again), or name another folder "
                "(make run DATA=…, PENSTOCK_LOCAL_DATA)"
            ) from error
        os.truncate(lock_fd, 0)
        os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
        yield lock_fd
    finally:
        os.close(lock_fd)


def _claim_for(version: str, folder: Path) -> None:
    marker = folder / _MARKER
    if any((folder / name).exists() for name in _APPEND_ONLY):
        wrote = marker.read_text().strip() if marker.exists() else "of an unknown version"
        if wrote.partition(".")[0] != version.partition(".")[0]:
            raise SettingsRefused(
                f"{folder} was written by redis-server {wrote} and this one is {version}, which "
                "would come up empty over it: name the other in PENSTOCK_LOCAL_REDIS_SERVER, "
                "or another folder (make run DATA=…, PENSTOCK_LOCAL_DATA), or remove this one"
            )
    marker.write_text(f"{version}\n")


@contextmanager
def _socket_path(folder: Path) -> Iterator[Path]:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH_BYTES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="penstock-", ignore_cleanup_errors=True) as short:
        yield Path(short) / "redis.sock"
