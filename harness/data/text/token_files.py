"""Files of tokens: the shipped novels, text read as bytes, ready-made token files."""

from __future__ import annotations

import glob
import json
import lzma
from importlib import resources
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from harness.data.catalog import named_texts
from harness.data.files import cache_folder
from harness.data.order import Index
from harness.errors import DataError

Tokens = NDArray[np.uint8 | np.uint16 | np.uint32]
"""Flat uint8, uint16 or uint32, in memory or mapped from a file."""
WIDTHS = ("uint16", "uint32")
"""Types of the ids in a `.bin` file: the first, unless its JSON file says another."""

SHIPPED = "austen"
AUSTEN_HELD_OUT = "persuasion"
LENGTHS = "token_bytes.npy"
"""File beside token files: bytes of text that each token stands for."""


class TokenFacts(TypedDict):
    """The content of the JSON file beside a token file."""

    tokenizer: str
    vocab: int
    documents: int
    tokens: int
    bytes: NotRequired[int]
    bytes_per_token: NotRequired[float]
    """Missing where nobody knows what text the ids stand for."""
    sha256: str
    dtype: NotRequired[str]


def austen(*, held_out: bool = False) -> Tokens:
    """The bytes of the shipped novels that are trained on, or of the one held out."""
    folder = resources.files("harness.data.text") / "corpora" / "austen"
    texts = [
        lzma.decompress(file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".txt.xz")
        and file.name.startswith(AUSTEN_HELD_OUT) == held_out
    ]
    return np.frombuffer(b"".join(texts), np.uint8)


def files_of(corpus: str | None) -> list[Path]:
    """The files that `corpus` names; none for what is shipped. Raises `DataError`."""
    if corpus in (None, SHIPPED):
        return []
    if corpus in named_texts():
        folder = cache_folder() / corpus
        if not folder.is_dir():
            raise DataError(
                f"{corpus} is not on this machine: get it with "
                f"`harness data fetch {corpus}`"
            )
        return sorted(folder.glob("*.txt"))
    names = sorted(Path(name) for name in glob.glob(corpus, recursive=True))
    files = [file for file in names if file.is_file()]
    if not files:
        raise DataError(
            f"no file matches corpus {corpus!r}; give {SHIPPED!r} or a path or glob of "
            ".txt, .npy or .bin files"
        )
    return files


def read_corpus(corpus: str) -> Tokens:
    """The tokens of all files that `corpus` names, one after another."""
    contents = [read_file(file) for file in files_of(corpus)]
    if len(contents) == 1:
        return contents[0]
    if len({tokens.dtype for tokens in contents}) > 1:
        raise DataError(f"{corpus} mixes token files of different widths")
    return np.concatenate(contents)


def read_file(file: Path) -> Tokens:
    """The tokens of one file, mapped. Raises `DataError` for other kinds of files."""
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty; leave it out or write it again")
    match file.suffix:
        case ".txt":
            return np.memmap(file, np.uint8, mode="r")
        case ".bin":
            return _read_bin(file)
        case ".npy":
            return _read_npy(file)
        case suffix:
            raise DataError(f"{file}: no reader for {suffix!r}; use .txt, .npy or .bin")


def _read_bin(file: Path) -> Tokens:
    side = file.with_suffix(".json")
    try:
        dtype = json.loads(side.read_text()).get("dtype", WIDTHS[0])
    except (OSError, ValueError, AttributeError):
        dtype = WIDTHS[0]
    if dtype not in WIDTHS:
        raise DataError(f"{side} says dtype {dtype!r}; ids are {' or '.join(WIDTHS)}")
    if file.stat().st_size % np.dtype(dtype).itemsize:
        raise DataError(f"{file} does not hold whole {dtype} numbers")
    return np.memmap(file, dtype, mode="r")


def _read_npy(file: Path) -> Tokens:
    try:
        tokens: Tokens = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file} is not a readable .npy file: {error}") from None
    if tokens.ndim != 1 or tokens.dtype not in (np.uint8, np.uint16, np.uint32):
        raise DataError(
            f"{file} holds {tokens.dtype} of shape {tokens.shape}; tokens are a flat "
            "uint8, uint16 or uint32 array"
        )
    return tokens


def id_type(vocab: int) -> str:
    """The narrowest of `WIDTHS` that holds all ids of a vocabulary."""
    return WIDTHS[vocab > 2**16]


def documents_file(file: Path) -> Path:
    """The file beside a token file that holds the starts of its documents."""
    return file.with_suffix(".documents.npy")


def document_starts(corpus: str) -> Index:
    """The positions in a corpus where documents start, by the files beside it.

    Raises `DataError` where there are none.
    """
    starts, before = [], 0
    for file in files_of(corpus):
        beside = documents_file(file)
        if not beside.is_file():
            raise DataError(
                f"{file} has no {beside.name} that says where documents start; give "
                "Text.separator, the id at the end of each, or import the tokens with "
                "`harness data import tokens`"
            )
        starts.append(np.load(beside, allow_pickle=False).astype(np.int64) + before)
        before += len(read_file(file))
    return np.concatenate(starts) if starts else np.zeros(1, np.int64)


def facts_beside(corpus: str | None) -> list[tuple[Path, TokenFacts]]:
    """Each token file of a corpus that has a JSON file beside it, and its facts."""
    pairs = []
    for file in files_of(corpus):
        side = file.with_suffix(".json")
        if file.suffix not in (".bin", ".npy") or not side.is_file():
            continue
        try:
            facts: TokenFacts = json.loads(side.read_text())
            _ = facts["vocab"], facts["tokens"]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{side} does not say vocab and tokens of {file.name}; import the text "
                "again, or remove it"
            ) from None
        pairs.append((file, facts))
    return pairs


def check_facts(corpus: str | None, vocab: int) -> None:
    """Raises `DataError` if a token file is not what the JSON file beside it says."""
    for file, facts in facts_beside(corpus):
        tokens = read_file(file)
        largest = int(tokens.max())
        side = file.with_suffix(".json").name
        if facts["vocab"] != vocab:
            raise DataError(
                f"{file} was written with a vocabulary of {facts['vocab']} (says "
                f"{side}) but Text.vocab is {vocab}; set vocab={facts['vocab']}"
            )
        if facts["tokens"] != len(tokens) or largest >= facts["vocab"]:
            raise DataError(
                f"{file} holds {len(tokens):,} tokens up to {largest}, but {side} says "
                f"{facts['tokens']:,} below {facts['vocab']}; import the text again"
            )


def token_lengths(token_file: Path, vocab: int) -> Tokens | None:
    """The bytes of each token of a vocabulary (V,); None if no file says them."""
    file = token_file.with_name(LENGTHS)
    if not file.is_file():
        return None
    lengths = _read_npy(file)
    if len(lengths) != vocab:
        raise DataError(
            f"{file} has the lengths of {len(lengths):,} tokens but Text.vocab is "
            f"{vocab:,}; import the text again"
        )
    return lengths
