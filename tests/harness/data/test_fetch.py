"""Fetching from a local server: whole, resumed, refused; the cache stays clean."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from harness.data import catalog, files
from harness.data.catalog import NamedData, NamedImages, RemoteFile
from harness.data.download import fetch
from harness.errors import DataError

CONTENT = bytes(range(256)) * 2000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; `server.cut` closes the line after that many bytes."""

    def do_GET(self):
        server = self.server
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        first = 0
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if asked and server.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        end = len(content) if server.cut is None else first + server.cut
        self.wfile.write(content[first:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.files, made.asked, made.cut, made.ranges = {}, [], None, True
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return files.cache_folder()


def offer(server, monkeypatch, content=CONTENT, *, name="file.bin", **changes):
    """Puts a data set "toy" of one file on the server and into the catalogue."""
    server.files[f"/{name}"] = content
    options = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "urls": (f"http://127.0.0.1:{server.server_port}/{name}",),
    } | changes
    remote = RemoteFile(name=name, **options)
    monkeypatch.setitem(
        catalog.CATALOG, "toy", NamedData(summary="a toy", files=(remote,))
    )


def in_cache(cache):
    if not cache.exists():
        return []
    return sorted(str(f.relative_to(cache)) for f in cache.rglob("*") if f.is_file())


def test_a_file_arrives_whole_and_only_once(server, cache, monkeypatch):
    offer(server, monkeypatch)
    seen = []
    folder = fetch.fetch("toy", progress=lambda *now: seen.append(now))
    assert folder == cache / "toy" and in_cache(cache) == ["toy/file.bin"]
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    fetch.fetch("toy")
    assert len(server.asked) == 1
    assert list(fetch.present()) == ["toy"] and not (cache / "partial").exists()


def test_an_interrupted_download_goes_on_where_it_stopped(server, cache, monkeypatch):
    offer(server, monkeypatch)
    server.cut = 300_000
    with pytest.raises(DataError, match=r"file.bin could not be fetched .* are kept"):
        fetch.fetch("toy")
    assert not (cache / "toy").exists() and not fetch.present()
    (part,) = in_cache(cache)
    kept = (cache / part).stat().st_size
    assert 0 < kept <= 300_000
    server.cut = None
    folder = fetch.fetch("toy")
    assert server.asked == [None, f"bytes={kept}-"]
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert in_cache(cache) == ["toy/file.bin"]


def test_a_server_that_cannot_resume_sends_it_again(server, cache, monkeypatch):
    offer(server, monkeypatch)
    server.cut, server.ranges = 300_000, False
    with pytest.raises(DataError):
        fetch.fetch("toy")
    server.cut = None
    assert (fetch.fetch("toy") / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_wrong_hash_is_refused_and_leaves_nothing(
    server, cache, monkeypatch, content
):
    """Truncated at the source, altered, and empty: all have a wrong hash."""
    right = hashlib.sha256(CONTENT).hexdigest()
    offer(server, monkeypatch, content, sha256=right)
    with pytest.raises(DataError, match="sha256 is not the expected one") as caught:
        fetch.fetch("toy")
    assert "\n" not in str(caught.value) and "file.bin" in str(caught.value)
    assert not in_cache(cache) and not fetch.present()


def test_a_damaged_part_is_not_gone_on_with_for_ever(server, cache, monkeypatch):
    offer(server, monkeypatch)
    waiting = cache / "partial" / "toy"
    waiting.mkdir(parents=True)
    (waiting / "file.bin.part").write_bytes(b"wrong" * 1000)
    with pytest.raises(DataError, match="sha256"):
        fetch.fetch("toy")
    assert not in_cache(cache)
    assert (fetch.fetch("toy") / "file.bin").read_bytes() == CONTENT


def test_force_replaces_a_damaged_copy(server, cache, monkeypatch):
    offer(server, monkeypatch)
    (fetch.fetch("toy") / "file.bin").write_bytes(b"damaged")
    fetch.fetch("toy")
    assert (cache / "toy" / "file.bin").read_bytes() == b"damaged"
    fetch.fetch("toy", force=True)
    assert (cache / "toy" / "file.bin").read_bytes() == CONTENT


def test_the_second_address_is_tried(server, cache, monkeypatch):
    here = f"http://127.0.0.1:{server.server_port}"
    offer(server, monkeypatch, urls=(f"{here}/gone", f"{here}/file.bin"))
    assert (fetch.fetch("toy") / "file.bin").read_bytes() == CONTENT


def test_a_file_that_is_gone_names_address_and_reason(server, cache, monkeypatch):
    offer(server, monkeypatch)
    server.files.clear()
    with pytest.raises(DataError, match=r"/file.bin: 404 Not Found.*data import"):
        fetch.fetch("toy")
    assert not in_cache(cache) and not (cache / "partial").exists()


def tar_of(**members):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def test_archives_are_unpacked_and_removed(server, cache, monkeypatch):
    offer(server, monkeypatch, tar_of(a=b"1", b=b"22"), name="t.tar.gz", unpack="tar")
    fetch.fetch("toy")
    assert in_cache(cache) == ["toy/folder/a", "toy/folder/b"]
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as zipped:
        zipped.writestr("enwik8", "text")
    offer(server, monkeypatch, raw.getvalue(), name="t.zip", unpack="zip")
    fetch.fetch("toy", force=True)
    assert in_cache(cache) == ["toy/enwik8.txt"]


def test_an_unknown_name_lists_the_known_ones(cache):
    with pytest.raises(DataError, match=r"no data set 'mnits'; known are mnist"):
        fetch.fetch("mnits")


def test_fetched_images_can_be_trained_on(server, cache, monkeypatch, tmp_path):
    from harness import Images
    from harness.specs.reading import check_files, resolve
    from tests.harness.data.test_images import write_mnist

    folder = tmp_path / "source"
    write_mnist(folder)
    remotes = []
    for file in sorted(folder.iterdir()):
        content = gzip.compress(file.read_bytes())
        server.files[f"/{file.name}.gz"] = content
        url = f"http://127.0.0.1:{server.server_port}/{file.name}.gz"
        sha256 = hashlib.sha256(content).hexdigest()
        remotes.append(RemoteFile(name=f"{file.name}.gz", sha256=sha256, urls=(url,)))
    digits = NamedImages(
        summary="small digits",
        files=tuple(remotes),
        shape=(6, 5, 1, 4),
        train=40,
        test=20,
    )
    monkeypatch.setitem(catalog.CATALOG, "mnist", digits)
    spec = Images(data="mnist")
    with pytest.raises(DataError, match="harness data fetch mnist"):
        check_files(spec)
    fetch.fetch("mnist")
    assert resolve(spec).unique == 40
    damaged = cache / "mnist" / "train-labels-idx1-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(DataError, match="harness data fetch mnist --force"):
        resolve(spec)
