"""Fixtures of the whole suite."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def private_caches(tmp_path_factory):
    """Compiled programs and figures' fonts go to a folder of this test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
