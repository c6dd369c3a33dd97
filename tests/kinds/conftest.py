"""All shipped models on one machine, as ``make run`` starts them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.local.run import address_in, running

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("run")
    shipped = {"PENSTOCK_MODELS": str(ROOT / "models"), "PENSTOCK_MODEL": "nsmc-sentiment"}
    with running(folder, **shipped) as run:
        address = address_in(run.greeting())
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client
        assert run.interrupt() == 0
