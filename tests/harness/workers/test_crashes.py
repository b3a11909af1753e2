"""Whatever dies, and when: what is resumed ends in the tables of a calm sweep."""

import errno
import os
import random
import signal
import time

import pytest
from safetensors.numpy import load_file

from harness.errors import StoreError
from harness.export.load import load_trained
from harness.store import disk, open_store
from harness.store.doctor import examine
from harness.store.status import holders
from harness.store.weights import kept_runs
from harness.sweeps.options import WorkerOptions
from harness.workers.worker import work
from tests.harness.crashes import Server, assert_same, runs
from tests.harness.strategies import ALONE, planned

SMALL = {"trunks": 2, "lengths": (12, 40)}


@pytest.fixture(scope="module")
def server(private_caches):
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def calm(server, tmp_path_factory):
    """The same sweep in one go."""
    folder = tmp_path_factory.mktemp("calm") / "store"
    # No checkpoint, so that these numbers owe nothing to one.
    assert server.work(store=str(folder), runs=SMALL, checkpoint=1e9) == 0
    return folder


def published(folder):
    return {p.name: p.read_bytes() for p in (folder / "records").glob("*.json")}


POINTS = [
    ("claim", 1),
    ("claim", 2),
    ("beat", 2),
    ("part", 1),
    ("part", 5),
    ("checkpoint", 1),
    # Positions 1, 2, 4, 6 are the trunk's; the fifth lies inside the first cooldown.
    ("checkpoint", 5),
    ("manifest", 1),
    ("manifest", 5),
    ("metrics", 1),
    ("metrics", 2),
    ("record", 2),
    ("view", 1),
    ("release", 1),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "n"), POINTS, ids=lambda v: str(v))
def test_killed_at_every_publishing_step(server, calm, tmp_path, kind, n, when):
    folder = tmp_path / "store"
    # A lease is released by a worker that was asked to stop.
    stop = {"stop_after": 7} if kind == "release" else {}
    # Beats follow each other while training is held up.
    pace = {"beat": 0.02, "pause": 0.05} if kind == "beat" else {}
    order = {"store": str(folder), "runs": SMALL, "die": (kind, when, n)}
    assert server.work(**order, **stop, **pace) == -signal.SIGKILL
    before = published(folder)
    assert server.work(store=str(folder), runs=SMALL) == 0
    assert_same(calm, folder)
    # What was published before the crash was not published again.
    assert before.items() <= published(folder).items()
    assert examine(open_store(folder), mend=False).ailments == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["packed metrics", "packed records", "index"])
@pytest.mark.parametrize("n", [1, 2])
def test_killed_while_it_packs(server, calm, tmp_path, kind, n, when):
    """A worker packs each run as soon as it has finished, and dies at it."""
    folder = tmp_path / "store"
    order = {"store": str(folder), "runs": SMALL, "pack_every": 1, "refresh": 0.0}
    assert server.work(**order, die=(kind, when, n)) == -signal.SIGKILL
    assert server.work(**order) == 0
    assert_same(calm, folder)
    store = open_store(folder)
    assert len(store.packs.current().run_ids) == 4 and not store.loose()
    assert examine(store, mend=False).ailments == []


def kept(folder):
    """The kept arrays; what is beside them tells the time as well."""
    return {
        str(path.relative_to(folder)): {
            name: array.tobytes() for name, array in load_file(path).items()
        }
        for path in (folder / "weights").rglob("*.safetensors")
    }


@pytest.fixture(scope="module")
def calm_kept(server, tmp_path_factory):
    """The same sweep in one go, its weights kept; and that of the ends of trunks."""
    folders = {}
    for keep in ("each length", "trunk"):
        folder = tmp_path_factory.mktemp("kept") / "store"
        order = {"store": str(folder), "runs": SMALL, "keep": keep}
        assert server.work(**order, checkpoint=1e9) == 0
        folders[keep] = folder
    return folders


def test_kept_weights_are_there_when_all_is_packed(server, calm_kept, tmp_path):
    order = {"store": str(tmp_path / "store"), "runs": SMALL, "keep": "each length"}
    died = server.work(**order, pack_every=2, refresh=0.0, die=("facts", "after", 3))
    assert died == -signal.SIGKILL
    assert server.work(**order, pack_every=1) == 0
    store = open_store(tmp_path / "store")
    assert not store.loose() and len(kept_runs(store)) == 4
    assert kept(store.folder) == kept(calm_kept["each length"])
    for run_id in kept_runs(store):
        loss = store.record(run_id)["row"]["loss"]
        assert load_trained(store, run_id).evaluate()["loss"] == loss
    assert examine(store, mend=False).ailments == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "n"),
    [("weights", 1), ("weights", 4), ("facts", 2), ("trunk", 1), ("trunk facts", 2)],
    ids=lambda v: str(v),
)
def test_kept_weights_survive_a_kill_at_each_step(
    server, calm_kept, tmp_path, kind, n, when
):
    keep = "trunk" if kind.startswith("trunk") else "each length"
    order = {"store": str(tmp_path / "store"), "runs": SMALL, "keep": keep}
    assert server.work(**order, die=(kind, when, n)) == -signal.SIGKILL
    assert server.work(**order) == 0
    assert_same(calm_kept[keep], tmp_path / "store")
    assert kept(tmp_path / "store") == kept(calm_kept[keep])
    assert len(kept(tmp_path / "store")) == (2 if keep == "trunk" else 4)
    assert examine(open_store(tmp_path / "store"), mend=False).ailments == []


@pytest.fixture(scope="module")
def calm_pair(server, tmp_path_factory):
    """The same sweep, both trunks side by side."""
    folder = tmp_path_factory.mktemp("pair") / "store"
    order = {"store": str(folder), "runs": SMALL, "population": 2}
    assert server.work(**order, checkpoint=1e9) == 0
    return folder


PAIR_POINTS = [
    ("after", "claim", 2),
    ("before", "checkpoint", 5),
    ("after", "manifest", 3),
    ("before", "metrics", 2),
    ("after", "record", 1),
    ("before", "record", 4),
]


@pytest.mark.parametrize(("when", "kind", "n"), PAIR_POINTS, ids=lambda v: str(v))
def test_a_killed_population_goes_on_as_it_was(
    server, calm_pair, tmp_path, when, kind, n
):
    """To the last bit, also when some of its members were published already."""
    folder = tmp_path / "store"
    order = {"store": str(folder), "runs": SMALL, "population": 2}
    assert server.work(**order, die=(kind, when, n)) == -signal.SIGKILL
    before = published(folder)
    assert server.work(**order) == 0
    assert_same(calm_pair, folder)
    assert before.items() <= published(folder).items()
    assert examine(open_store(folder), mend=False).ailments == []
    assert open_store(folder).files.names("work") == []


@pytest.mark.parametrize("chunks", [3, 5])
def test_a_stop_hands_over_and_nothing_is_trained_twice(server, calm, tmp_path, chunks):
    """Also inside a cooldown: the fifth chunk lies in one."""
    folder = tmp_path / "store"
    order = {"store": str(folder), "runs": SMALL, "checkpoint": 1e9}
    assert server.work(**order, stop_after=chunks) == 75
    released = list((folder / "work").glob("*/release-*.json"))
    assert len(released) == 1
    total = chunks
    # Every worker does a few chunks; together they do no more than one would: 22.
    while server.work(**order, stop_after=chunks) == 75:
        total += chunks
        assert total <= 22
    assert_same(calm, folder)
    assert not (folder / "failures").exists()


def test_a_paused_holder_steps_aside(server, calm, tmp_path):
    folder = tmp_path / "store"
    order = {"store": str(folder), "runs": SMALL, "beat": 0.1, "stale": 1.0}
    paused = server.start(**order, pause=0.2)
    while not list((folder / "work").glob("*/ckpt/*.json")):
        time.sleep(0.05)
    os.kill(paused, signal.SIGSTOP)
    (held,) = {h.trunk_id for h in held_now(folder)}
    time.sleep(2.0)
    assert not held_now(folder)[0].alive
    # It still exists as a process, so only its silence can tell.
    assert server.work(**order) == 0
    done = published(folder)
    assert len(done) == 4
    os.kill(paused, signal.SIGCONT)
    assert server.end(paused) == 0
    assert any(held in line and "went to another" in line for line in server.said)
    assert published(folder) == done
    assert_same(calm, folder)


def held_now(folder):
    """Who holds a trunk of the store."""
    return holders(open_store(folder))


def test_random_kills(server, tmp_path):
    """Sixty runs, four workers, fifty kills: each run once, and as on a calm day."""
    many = {"trunks": 20, "lengths": (12, 24, 40)}
    calm, torn = tmp_path / "calm", tmp_path / "torn"
    assert server.work(store=str(calm), runs=many, checkpoint=1e9) == 0
    rng, kills, alive = random.Random(17), 0, {}
    # The pause makes the sweep long enough to be hit often, whatever the machine.
    order = {"store": str(torn), "runs": many, "checkpoint": 0.3}
    seen: dict[str, bytes] = {}
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for slot in range(4):
            if slot not in alive:
                pause = 0.6 if kills < 50 else 0.0
                alive[slot] = server.start(**order, slot=slot, pause=pause)
        time.sleep(rng.uniform(0.4, 1.2))
        while server.ended():
            server._read("ended")
        for slot, pid in list(alive.items()):
            if pid in server.codes:
                del alive[slot]
        if kills < 50 and alive:
            slot = rng.choice(sorted(alive))
            try:
                os.kill(alive[slot], signal.SIGKILL)
            except ProcessLookupError:
                # It found nothing to do, and has just ended by itself.
                continue
            assert server.end(alive.pop(slot)) in (0, -signal.SIGKILL)
            kills += 1
        if (torn / "records").exists():
            now = published(torn)
            assert seen.items() <= now.items()
            seen = now
        if kills == 50 and len(seen) == 60 and not alive:
            break
        if kills == 50 and len(seen) == 60:
            for pid in alive.values():
                assert server.end(pid) == 0
            break
    assert kills == 50 and len(seen) == 60
    assert server.work(**order) == 0
    assert_same(calm, torn)
    assert examine(open_store(torn), mend=False).ailments == []


def test_a_full_disk_stops_with_one_line_and_loses_nothing(calm, tmp_path, monkeypatch):
    from harness.store import create_store

    store = create_store(tmp_path / "store")
    made = planned(*runs(**SMALL))
    real, room = disk.write, [9]

    def full(path, content, *, durable):
        room[0] -= 1
        if room[0] < 0:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content, durable=durable)

    monkeypatch.setattr(disk, "write", full)
    with pytest.raises(StoreError, match=r"cannot write .*: the disk is full"):
        work(store, made, options=WorkerOptions(train=ALONE, checkpoint_s=0.0))
    done = published(tmp_path / "store")
    monkeypatch.undo()
    # To let go needs no room: others need not wait, and nobody has vanished.
    assert not held_now(tmp_path / "store")
    work(store, made, options=WorkerOptions(train=ALONE, poll_s=0.01))
    assert done.items() <= published(tmp_path / "store").items()
    assert len(published(tmp_path / "store")) == 4 and store.failures() == []


def test_a_run_that_always_dies_is_given_up_and_the_others_train(server, tmp_path):
    folder = tmp_path / "store"
    order = {"store": str(folder), "runs": {"trunks": 2, "lengths": (9,)}}
    codes = [
        server.work(**order, die=("metrics", "before", 1), checkpoint=1e9)
        for _ in range(2)
    ]
    assert codes == [-signal.SIGKILL] * 2
    store = open_store(folder)
    # The second worker found the first one gone, and said so.
    (failure,) = store.failures()
    assert failure["kind"] == "killed" and "without a word" in failure["error"]
    assert server.work(**order) == 0
    assert len(store.finished()) == 2
