"""One browser for the folder's tests."""

from collections.abc import Iterator

import pytest

from tests.page.chromium import Chromium, running_chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with running_chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def tab(chromium: Chromium) -> Iterator[Chromium]:
    """Nothing that a test does may upset the page: no exception, nothing that the policy stops."""
    yield chromium
    assert chromium.complaints == []
