"""Ask a part whether it is ready: over HTTP, or in Redis' own words.

Each probe answers None or the reason in one line, and never raises.
"""

import asyncio
import json
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from services.local.keeper import Probe

_PATIENCE_S: Final = 2.0


def readyz(host: str, port: int) -> Probe:
    """Ready when ``GET /readyz`` answers 200."""

    async def ask() -> str | None:
        return await asyncio.to_thread(_readyz, host, port)

    return ask


def pong(socket: Path) -> Probe:
    """Ready when the Redis behind ``socket`` has loaded its data and answers a PING."""

    async def ask() -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_unix_connection(socket)
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError) as error:
            return f"Redis does not answer yet: {error}"
        return None if answer == b"+PONG\r\n" else answer.decode(errors="replace").strip()

    return ask


def _readyz(host: str, port: int) -> str | None:
    connection = HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        return f"{host}:{port} does not answer yet: {error}"
    finally:
        connection.close()
    return None if response.status == 200 else _detail(body)


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
