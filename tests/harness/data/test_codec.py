"""Prompts become the tokens that a data set was written with, and text again."""

import numpy as np
import pytest

from harness import Text, ZipfMarkov
from harness.data.text import bpe
from harness.data.text.codec import codec_of
from harness.errors import DataError

TEXT = "naïve Zürich,\n\t€ 5"


@pytest.fixture
def imported(tmp_path):
    pytest.importorskip("tokenizers")
    lines = "\n".join(f"the ship number {i} is at sea" for i in range(300))
    (tmp_path / "a.txt").write_text(lines)
    bpe.import_text([str(tmp_path / "a.txt")], tmp_path / "out", vocab=300)
    return tmp_path / "out"


@pytest.mark.parametrize("corpus", ["austen", "files"])
def test_bytes_come_back(tmp_path, corpus):
    if corpus == "files":
        (tmp_path / "a.txt").write_text("abc")
        corpus = str(tmp_path / "*.txt")
    codec = codec_of(Text(corpus=corpus))
    assert codec.encode(TEXT) == list(TEXT.encode())
    assert codec.decode(codec.encode(TEXT)) == TEXT
    assert codec.decode([0xE2, 0x82, 400]) == "\N{REPLACEMENT CHARACTER}" * 2


def test_an_imported_text_has_its_own_vocabulary(imported):
    codec = codec_of(Text(corpus=str(imported / "train.bin"), vocab=300))
    written = np.fromfile(imported / "train.bin", "<u2")[:50].tolist()
    assert codec.encode(codec.decode(written)) == written
    assert codec.decode(codec.encode(TEXT)) == TEXT


def test_a_vocabulary_that_is_gone_is_named(imported):
    (imported / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"nothing beside .*train.bin says how text"):
        codec_of(Text(corpus=str(imported / "train.bin"), vocab=300))


def test_a_damaged_vocabulary_is_named(imported):
    (imported / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer.json cannot be read"):
        codec_of(Text(corpus=str(imported / "train.bin"), vocab=300))


def test_other_data_hold_no_text():
    with pytest.raises(DataError, match="'zipf_markov' hold no text"):
        codec_of(ZipfMarkov())
