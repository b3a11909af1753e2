"""Text files to token files: a byte-level BPE of one's own, or one of tiktoken's.

A token file is raw uint16, little-endian; the JSON file beside it says how many tokens
it holds, of which vocabulary, and how many bytes of text they stand for; the file
`token_bytes.npy` says so of each token. The packages that do the work are in the extra
`text`.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.text.token_files import LENGTHS
from harness.errors import DataError

SEPARATOR = b"\n\0\n"
"""A line that holds one NUL byte parts the documents of a file."""
PIECE = 2**20
"""Longer documents are encoded in pieces of about so many bytes, cut at line ends."""
END_OF_TEXT = "<|endoftext|>"
LARGEST_VOCAB = 2**16

Encode = Callable[[list[str]], list[list[int]]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tokenizer:
    """A vocabulary, how to encode with it, the end-of-text id, and its file if any."""

    name: str
    vocab: int
    end: int
    lengths: NDArray[np.uint16]
    """Bytes of text that each token stands for (V,); 0 for special tokens."""
    encode: Encode
    save: Callable[[Path], None] | None


def import_text(
    files: list[str],
    out: Path,
    *,
    vocab: int = 8192,
    encoding: str | None = None,
    held_out: list[str] | None = None,
    held_out_share: float = 0.05,
) -> dict[str, Any]:
    """Writes train.bin, held_out.bin and their JSON files into `out`.

    The tokenizer is trained on the training documents alone, with `vocab` tokens, or
    is tiktoken's `encoding`. What is held out are the files `held_out`, or else the
    last documents of the last files, at least `held_out_share` of all bytes.

    Returns:
        What the two JSON files say, under "train" and "held_out".

    Raises:
        DataError: for missing or empty files and for missing packages.
    """
    train = _documents(files)
    if held_out:
        held = _documents(held_out)
    else:
        train, held = _part(train, held_out_share)
    tokenizer = _tiktoken(encoding) if encoding else _trained(train, vocab)
    out.mkdir(parents=True, exist_ok=True)
    if tokenizer.save is not None:
        tokenizer.save(out / "tokenizer.json")
    np.save(out / LENGTHS, tokenizer.lengths)
    return {
        "train": _write(out / "train.bin", train, tokenizer),
        "held_out": _write(out / "held_out.bin", held, tokenizer),
    }


def _documents(patterns: list[str]) -> list[bytes]:
    """All documents of all files, in order. Raises `DataError` if there are none."""
    found: list[bytes] = []
    for pattern in patterns:
        files = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
        if not files:
            raise DataError(f"no file matches {pattern!r}; give paths of text files")
        for file in files:
            content = file.read_bytes()
            documents = [d for d in content.split(SEPARATOR) if d.strip()]
            if not documents:
                raise DataError(f"{file} is empty; leave it out or write it again")
            found += documents
    return found


def _part(documents: list[bytes], share: float) -> tuple[list[bytes], list[bytes]]:
    """Training and held-out documents: whole ones, unless there is only one."""
    if not 0 < share < 1:
        raise DataError(f"held_out_share {share} is not between 0 and 1")
    if len(documents) == 1:
        (whole,) = documents
        cut = whole.rfind(b"\n", 0, int(len(whole) * (1 - share))) + 1
        if not cut:
            raise DataError("the text has too few lines to hold some out")
        return [whole[:cut]], [whole[cut:]]
    wanted = share * sum(map(len, documents))
    first, held = len(documents), 0.0
    while held < wanted and first > 1:
        first -= 1
        held += len(documents[first])
    return documents[:first], documents[first:]


def _trained(documents: list[bytes], vocab: int) -> Tokenizer:
    if not 257 <= vocab <= LARGEST_VOCAB:
        raise DataError(f"vocab {vocab} is not between 257 and {LARGEST_VOCAB:,}")
    tokenizers = _package("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    made.pre_tokenizer = byte_level(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_texts(documents), trainer)
    size = made.get_vocab_size()
    if size < vocab:
        raise DataError(f"the text has only {size:,} tokens to learn; lower vocab")

    def encode(texts: list[str]) -> list[list[int]]:
        return [found.ids for found in made.encode_batch(texts)]

    return Tokenizer(
        name="byte-level BPE trained on train.bin",
        vocab=size,
        end=made.token_to_id(END_OF_TEXT),
        lengths=_byte_level_lengths(made.get_vocab(), size),
        encode=encode,
        save=lambda path: made.save(str(path)),
    )


def _tiktoken(name: str) -> Tokenizer:
    tiktoken = _package("tiktoken")
    try:
        found = tiktoken.get_encoding(name)
    # An unknown name, or a file that cannot be downloaded: all the same to the user.
    except Exception as error:
        text = " ".join(str(error).split())[:120]
        raise DataError(
            f"tiktoken cannot load the encoding {name!r} ({text}); give one of "
            f"{', '.join(tiktoken.list_encoding_names())} where the internet is "
            "reached, or set TIKTOKEN_CACHE_DIR to a folder that holds its file"
        ) from None
    if found.n_vocab > LARGEST_VOCAB:
        raise DataError(f"{name} has {found.n_vocab:,} tokens; uint16 holds 65,536")

    def encode(texts: list[str]) -> list[list[int]]:
        return found.encode_ordinary_batch(texts)

    return Tokenizer(
        name=f"tiktoken {name}",
        vocab=found.n_vocab,
        end=found.eot_token,
        lengths=_tiktoken_lengths(found),
        encode=encode,
        save=None,
    )


def _byte_level_lengths(ids: Mapping[str, int], vocab: int) -> NDArray[np.uint16]:
    """In a byte-level vocabulary each character of a token stands for one byte."""
    lengths = np.zeros(vocab, np.uint16)
    for token, index in ids.items():
        lengths[index] = 0 if token == END_OF_TEXT else len(token)
    return lengths


def _tiktoken_lengths(encoding: Any) -> NDArray[np.uint16]:
    lengths = np.zeros(encoding.n_vocab, np.uint16)
    for token in encoding.token_byte_values():
        lengths[encoding.encode_single_token(token)] = len(token)
    return lengths


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise DataError(
            f"importing text needs {name}: pip install 'scaling-harness[text]'"
        ) from None


def _texts(documents: Iterable[bytes]) -> Iterator[str]:
    for document in documents:
        for piece in _pieces(document):
            yield piece.decode("utf-8", errors="replace")


def _pieces(document: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(document):
        end = document.rfind(b"\n", start, start + PIECE) + 1
        if end <= start or start + PIECE >= len(document):
            end = min(len(document), start + PIECE)
        yield document[start:end]
        start = end


def _write(file: Path, documents: list[bytes], tokenizer: Tokenizer) -> dict[str, Any]:
    """Writes tokens and their description; each file appears whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    digest, tokens = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as out:
            for document in documents:
                encoded = tokenizer.encode(list(_texts([document])))
                ids = [i for piece in encoded for i in piece] + [tokenizer.end]
                raw = np.asarray(ids, "<u2").tobytes()
                out.write(raw)
                digest.update(raw)
                tokens += len(ids)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    size = sum(map(len, documents))
    side = {
        "tokenizer": tokenizer.name,
        "vocab": tokenizer.vocab,
        "documents": len(documents),
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": size / tokens,
        "sha256": digest.hexdigest(),
    }
    file.with_suffix(".json").write_text(json.dumps(side, indent=1) + "\n")
    return side
