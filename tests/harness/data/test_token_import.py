"""Token ids from arrays and tables to a corpus; whole documents are held out."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harness
from harness import LinearRNN, Text
from harness.data.text import token_import
from harness.data.text.read import resolve, tokens
from harness.data.text.token_import import import_tokens
from harness.errors import DataError, SpecError
from harness.sweeps.options import TrainOptions
from tests.harness.strategies import mlp_run

RNG = np.random.default_rng(0)
DOCUMENTS = [RNG.integers(0, 100_000, n) for n in RNG.integers(20, 60, 40)]
FLAT = np.concatenate(DOCUMENTS)
STARTS = np.cumsum([0, *map(len, DOCUMENTS)])[:-1]


def saved_by_hugging_face(folder, table):
    """The layout of `datasets.Dataset.save_to_disk`."""
    folder.mkdir(parents=True)
    name = str(folder / "data-00000-of-00001.arrow")
    with pa.OSFile(name, "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=7)
    files = [{"filename": "data-00000-of-00001.arrow"}]
    (folder / "state.json").write_text(json.dumps({"_data_files": files}))


def sources(folder):
    lists = pa.table({"input_ids": [d.tolist() for d in DOCUMENTS]})
    pq.write_table(lists, folder / "lists.parquet")
    pq.write_table(pa.table({"ids": FLAT}), folder / "flat.parquet")
    np.save(folder / "flat.npy", FLAT)
    np.savez(folder / "flat.npz", tokens=FLAT)
    saved_by_hugging_face(folder / "saved", lists)
    saved_by_hugging_face(folder / "split" / "train", lists)
    (folder / "split" / "dataset_dict.json").write_text('{"splits": ["train"]}')


@pytest.mark.parametrize(
    ("name", "documents"),
    [
        ("lists.parquet", 40),
        ("saved", 40),
        ("split", 40),
        ("flat.parquet", 1),
        ("flat.npy", 1),
        ("flat.npz", 1),
    ],
)
def test_every_source_becomes_the_same_tokens(name, documents, tmp_path, monkeypatch):
    monkeypatch.setattr(token_import, "ROWS", 9)
    monkeypatch.setattr(token_import, "BLOCK", 100)
    sources(tmp_path)
    done = import_tokens(tmp_path / name, tmp_path / "out", vocab=100_000)
    assert (done.tokens, done.documents) == (len(FLAT), documents)
    written = np.fromfile(done.file, "<u4")
    assert np.array_equal(written, FLAT)
    assert eval(done.source(None), {"Text": Text}).vocab == 100_000


def test_a_separator_ends_each_document(tmp_path):
    sources(tmp_path)
    done = import_tokens(tmp_path / "lists.parquet", tmp_path / "out", separator=7)
    ends = [np.append(document, 7) for document in DOCUMENTS]
    assert np.array_equal(np.fromfile(done.file, "<u4"), np.concatenate(ends))
    starts = np.load(tmp_path / "out" / "tokens.documents.npy")
    assert np.array_equal(starts, STARTS + np.arange(40))


@pytest.mark.parametrize("separator", [None, 100_000])
def test_no_document_is_trained_on_and_held_out(separator, tmp_path):
    sources(tmp_path)
    done = import_tokens(
        tmp_path / "saved", tmp_path / "out", separator=separator, vocab=100_001
    )
    spec = Text(
        corpus=str(done.file),
        vocab=100_001,
        context=8,
        eval_sequences=4,
        hold_out="documents",
        separator=separator,
    )
    train, held_out = tokens(resolve(spec))
    extra = np.arange(40) if separator else 0
    assert len(train) in set(STARTS + extra) and len(held_out) >= 0.05 * len(FLAT)
    assert len(train) + len(held_out) == done.tokens
    other = resolve(dataclasses.replace(spec, hold_out="tail", separator=None))
    assert other.digest != resolve(spec).digest


def test_ids_beyond_16_bits_train_to_the_exact_vocabulary(tmp_path):
    sources(tmp_path)
    done = import_tokens(tmp_path / "flat.npy", tmp_path / "out")
    spec = Text(corpus=str(done.file), vocab=done.vocab, context=8, eval_sequences=4)
    run = mlp_run(model=LinearRNN(width=2, depth=1), data=spec, steps=2, batch=2)
    row = harness.train(run, TrainOptions(population=1)).row
    assert row["n_embed"] == 2 * (FLAT.max() + 1)
    assert row["loss"] == pytest.approx(np.log(done.vocab), rel=0.1)


WRONG = {
    "no file": (lambda f: f / "none.npy", {}, "not a file or folder"),
    "text": (lambda f: f / "notes.txt", {}, r"give an \.npy, \.npz or parquet file"),
    "floats": (lambda f: f / "floats.npy", {}, "holds float64 of shape"),
    "large": (lambda f: f / "flat.npy", {"vocab": 50_000}, "at position [0-9,]+; ids"),
    "negative": (lambda f: f / "negative.npy", {}, "holds -1 at position 3; ids lie"),
    "column": (lambda f: f / "lists.parquet", {"column": "ids"}, "no column 'ids'"),
    "two": (lambda f: f / "two.parquet", {}, "has 2 columns of whole numbers; name"),
    "words": (lambda f: f / "words.parquet", {"column": "text"}, "import text"),
    "gaps": (lambda f: f / "gaps.parquet", {}, "has empty rows; drop them"),
    "torn": (lambda f: f / "torn.parquet", {}, "not a readable parquet file"),
    "folder": (lambda f: f, {}, "not saved by Hugging Face datasets"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_source_is_one_line_and_leaves_nothing(name, tmp_path):
    sources(tmp_path)
    (tmp_path / "notes.txt").write_text("words")
    np.save(tmp_path / "floats.npy", np.ones(9))
    np.save(tmp_path / "negative.npy", np.array([1, 2, 3, -1]))
    pq.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), tmp_path / "two.parquet")
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "words.parquet")
    pq.write_table(pa.table({"ids": [1, None]}), tmp_path / "gaps.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing")
    source, options, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        import_tokens(source(tmp_path), tmp_path / "out", **options)
    assert not list((tmp_path / "out").glob("*"))


def test_memory_does_not_grow_with_the_table(tmp_path):
    ids = np.arange(2_000_000) % 50_000
    table = pa.table({"ids": ids})
    pq.write_table(table, tmp_path / "long.parquet", row_group_size=10_000)
    del table
    tracemalloc.start()
    import_tokens(tmp_path / "long.parquet", tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < ids.nbytes / 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"separator": 3}, "no effect without hold_out"),
        ({"hold_out": "documents", "held_out": "austen"}, "no effect with held_out"),
        ({"hold_out": "documents", "separator": 256}, "no token of a vocabulary of"),
    ],
)
def test_fields_without_effect_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        Text(**fields)


def test_documents_that_nobody_knows_are_asked_for(tmp_path):
    np.save(tmp_path / "flat.npy", FLAT.astype(np.uint32))
    spec = Text(corpus=str(tmp_path / "flat.npy"), vocab=100_000, hold_out="documents")
    with pytest.raises(DataError, match=r"has no flat\.documents\.npy .* Text\.sep"):
        resolve(spec)
