"""Fixtures of the whole suite."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def private_caches(tmp_path_factory, worker_id):
    """Compiled programs and figures' fonts go to a folder of this test session, which
    the processes of a parallel session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "caches"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield
