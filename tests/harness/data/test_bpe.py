"""Importing text: every document comes back, held-out ones were never trained on."""

import builtins
import json
import math

import numpy as np
import pytest

from harness import Text
from harness.data.dataset import load
from harness.data.text import bpe
from harness.errors import DataError
from harness.specs.reading import resolve

tokenizers = pytest.importorskip("tokenizers")


def documents(n=30):
    rng = np.random.default_rng(0)
    words = ["ship", "sea", "wind", "captain", "harbour", "naïve", "Zürich", "\t€"]
    return [" ".join(rng.choice(words, 200)) + f"\nend {i}" for i in range(n)]


@pytest.fixture
def texts(tmp_path):
    for k in range(3):
        part = documents()[10 * k : 10 * k + 10]
        (tmp_path / f"part{k}.txt").write_bytes("\n\0\n".join(part).encode())
    return tmp_path


def ids(file):
    return np.fromfile(file, "<u2")


def decoded(folder, name):
    made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = made.token_to_id(bpe.END_OF_TEXT)
    tokens = ids(folder / f"{name}.bin")
    parts = np.split(tokens, np.flatnonzero(tokens == end) + 1)
    return [made.decode(part[:-1].tolist()) for part in parts if len(part)]


def test_documents_come_back_and_whole_ones_are_held_out(texts, tmp_path):
    out = tmp_path / "out"
    said = bpe.import_text(
        [str(texts / "part*.txt")], out, vocab=300, held_out_share=0.1
    )
    train, held = decoded(out, "train"), decoded(out, "held_out")
    assert [*train, *held] == documents()
    assert len(held) == 3 + (
        sum(map(len, documents()[27:])) < 0.1 * sum(map(len, documents()))
    )
    for name in ("train", "held_out"):
        side = json.loads((out / f"{name}.json").read_text())
        assert side == said[name] and side["vocab"] == 300
        assert side["tokens"] == len(ids(out / f"{name}.bin"))
        text = train if name == "train" else held
        assert side["bytes"] == sum(len(t.encode()) for t in text)


def test_named_works_are_held_out_and_the_corpus_can_be_trained_on(texts, tmp_path):
    out = tmp_path / "out"
    files = [str(texts / "part0.txt"), str(texts / "part1.txt")]
    said = bpe.import_text(files, out, vocab=280, held_out=[str(texts / "part2.txt")])
    assert decoded(out, "held_out") == documents()[20:]
    spec = resolve(
        Text(
            corpus=str(out / "train.bin"),
            held_out=str(out / "held_out.bin"),
            context=16,
            vocab=280,
            eval_sequences=8,
        )
    )
    assert spec.bytes_per_token == pytest.approx(
        said["held_out"]["bytes_per_token"], rel=0.2
    )
    dataset = load(spec, 0)
    assert np.array_equal(dataset.train["tokens"], ids(out / "train.bin"))
    assert "bytes_per_token" not in spec.identity()


def testbits_per_byte_divides_by_the_length_of_a_token(texts, tmp_path):
    from harness.workers.record import bits_per_byte
    from tests.harness.strategies import text_run

    plain = text_run()
    assert bits_per_byte(plain, 1.0) == pytest.approx(1 / math.log(2))
    other = text_run(data=Text(vocab=300, context=16, bytes_per_token=2.5))
    assert bits_per_byte(other, 1.0) == pytest.approx(1 / math.log(2) / 2.5)
    assert bits_per_byte(text_run(data=Text(vocab=300, context=16)), 1.0) is None


def testbits_per_byte_are_those_of_the_bytes_that_are_predicted(texts, tmp_path):
    out = imported(texts, tmp_path)
    made = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    end = made.token_to_id(bpe.END_OF_TEXT)
    for held in ("held_out", None):
        spec = resolve(
            Text(
                corpus=str(out / "train.bin"),
                held_out=held and str(out / f"{held}.bin"),
                context=16,
                vocab=300,
                eval_sequences=8,
            )
        )
        dataset = load(spec, 0)
        _, targets = dataset.gather(dataset.held_out, dataset.eval_offsets)
        # In its byte-level alphabet a token has one character for each byte.
        written = [made.id_to_token(t) for t in targets.ravel().tolist() if t != end]
        assert spec.bytes_per_token == len("".join(written)) / targets.size


def test_the_lengths_of_all_tokens_add_up_to_the_text(texts, tmp_path):
    out = imported(texts, tmp_path)
    lengths = np.load(out / "token_bytes.npy")
    for name in ("train", "held_out"):
        side = json.loads((out / f"{name}.json").read_text())
        assert lengths[ids(out / f"{name}.bin")].sum() == side["bytes"]
    np.save(out / "token_bytes.npy", lengths[:-1])
    train = str(out / "train.bin")
    spec = Text(corpus=train, context=16, vocab=300, eval_sequences=4)
    with pytest.raises(DataError, match=r"lengths of 299 tokens .* import"):
        resolve(spec)


def test_one_document_is_parted_at_a_line_end(tmp_path):
    lines = "".join(f"line {i} of the only document\n" for i in range(400))
    (tmp_path / "one.txt").write_text(lines)
    bpe.import_text([str(tmp_path / "one.txt")], tmp_path / "out", vocab=270)
    (train,), (held,) = (decoded(tmp_path / "out", n) for n in ("train", "held_out"))
    assert train + held == lines and held.startswith("line ")
    assert 0.04 < len(held) / len(lines) < 0.07


def test_long_documents_are_encoded_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(bpe, "PIECE", 100)
    document = ("short line\n" * 50 + "x" * 350 + "\nlast").encode()
    pieces = list(bpe._pieces(document))
    assert b"".join(pieces) == document
    assert max(map(len, pieces)) <= 100 and len(pieces) < 15


def imported(texts, tmp_path):
    out = tmp_path / "out"
    bpe.import_text([str(texts / "part*.txt")], out, vocab=300)
    return out


def rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "vocab", "message"),
    [
        (lambda d: None, 256, r"train.bin was written with a vocabulary of 300 .* set"),
        (
            lambda d: rewrite(d / "train.json", vocab=280),
            280,
            r"train.bin holds .* but train.json says .* below 280; import",
        ),
        (
            lambda d: rewrite(d / "train.json", tokens=5),
            300,
            r"train.json says 5 below",
        ),
        (lambda d: (d / "train.json").write_text("{"), 300, r"does not say vocab"),
        (lambda d: (d / "train.bin").write_bytes(b""), 300, r"train.bin is empty"),
    ],
)
def test_token_files_that_disagree_with_their_side_files(
    texts, tmp_path, damage, vocab, message
):
    out = imported(texts, tmp_path)
    damage(out)
    spec = Text(corpus=str(out / "train.bin"), context=16, vocab=vocab)
    with pytest.raises(DataError, match=message) as caught:
        resolve(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"a.txt is empty"),
        (b" \n", {}, r"a.txt is empty"),
        (b"word\n" * 50, {"vocab": 100}, "vocab 100 is not between 257"),
        (b"word\n" * 50, {"vocab": 9000}, "lower vocab"),
        (b"word\n" * 50, {"held_out_share": 1.5}, "held_out_share 1.5"),
        (b"word\n" * 50, {"held_out": ["none.txt"]}, "no file matches 'none.txt'"),
        (b"no line end", {}, "too few lines"),
        (b"word\n" * 50, {"encoding": "no such"}, "cannot load the encoding"),
    ],
)
def test_texts_that_cannot_be_imported(tmp_path, content, options, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        bpe.import_text([str(tmp_path / "a.txt")], tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*.bin"))


def test_a_missing_package_says_what_to_install(texts, tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(bpe, "import_module", without)
    with pytest.raises(DataError, match=r"pip install 'scaling-harness\[text\]'"):
        bpe.import_text([str(texts / "part0.txt")], tmp_path / "out", vocab=300)


def test_a_text_known_by_name_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="`harness data fetch enwik8`"):
        resolve(Text(corpus="enwik8"))
    from harness.data.files import cache_folder

    folder = cache_folder() / "enwik8"
    folder.mkdir(parents=True)
    (folder / "enwik8.txt").write_bytes(bytes(range(65, 91)) * 2000)
    spec = resolve(Text(corpus="enwik8", context=16, eval_sequences=4))
    assert spec.unique == 49_392
