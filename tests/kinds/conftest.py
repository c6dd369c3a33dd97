"""A client of all shipped models, which ``tests/conftest.py`` serves."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client(shipped_models: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shipped_models, timeout=60, trust_env=False) as client:
        yield client
