"""Text files to token files: a byte-level BPE of one's own, or one of tiktoken's.

A token file is raw uint16, or uint32 for more than 65,536 tokens. The JSON file beside
it says how many tokens it holds, of which vocabulary, and how many bytes of text they
stand for; the file `token_bytes.npy` says so of each token. The packages that do the
work are in the extra
`text`.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.data.files import write_whole
from harness.data.text.token_files import LENGTHS, TokenFacts, id_type
from harness.errors import DataError

SEPARATOR = b"\n\0\n"
"""A line that holds one NUL byte parts the documents of a file."""
PIECE = 2**20
"""Longer documents are encoded in pieces of about so many bytes, cut at line ends."""
END_OF_TEXT = "<|endoftext|>"
LARGEST_VOCAB = 2**20
"""Most tokens of a vocabulary that is trained here."""

Encode = Callable[[list[str]], list[list[int]]]


class Encoding(Protocol):
    """An encoding, as tiktoken gives it."""

    n_vocab: int
    eot_token: int

    def encode_ordinary_batch(self, text: list[str]) -> list[list[int]]: ...

    def decode(self, tokens: list[int]) -> str: ...

    def encode_single_token(self, text_or_bytes: bytes) -> int: ...

    def token_byte_values(self) -> list[bytes]: ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tokenizer:
    """A vocabulary, its encoder, the end-of-text id, and the file it is saved in."""

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
) -> dict[str, TokenFacts]:
    """Writes train.bin, held_out.bin and their JSON files into `out`.

    The tokenizer is trained on the training documents alone, with `vocab` tokens, or
    is tiktoken's `encoding`. What is held out are the files `held_out`, or else the
    last documents of the last files, at least `held_out_share` of all bytes.

    Returns:
        The content of the two JSON files, under "train" and "held_out".

    Raises:
        DataError: for missing or empty files and for missing packages.
    """
    train = _documents(files)
    if held_out:
        test = _documents(held_out)
    else:
        train, test = _split(train, held_out_share)
    tokenizer = _tiktoken(encoding) if encoding else _trained(train, vocab)
    out.mkdir(parents=True, exist_ok=True)
    if tokenizer.save is not None:
        tokenizer.save(out / "tokenizer.json")
    np.save(out / LENGTHS, tokenizer.lengths)
    return {
        "train": _write(out / "train.bin", train, tokenizer),
        "held_out": _write(out / "held_out.bin", test, tokenizer),
    }


def _documents(patterns: list[str]) -> list[bytes]:
    """All documents of all files, in order. Raises `DataError` if there are none."""
    documents: list[bytes] = []
    for pattern in patterns:
        files = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
        if not files:
            raise DataError(f"no file matches {pattern!r}; give paths of text files")
        for file in files:
            texts = [d for d in file.read_bytes().split(SEPARATOR) if d.strip()]
            if not texts:
                raise DataError(f"{file} is empty; leave it out or write it again")
            documents += texts
    return documents


def _split(documents: list[bytes], share: float) -> tuple[list[bytes], list[bytes]]:
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
    first, size = len(documents), 0
    while size < wanted and first > 1:
        first -= 1
        size += len(documents[first])
    return documents[:first], documents[first:]


def _trained(documents: list[bytes], vocab: int) -> Tokenizer:
    if not 257 <= vocab <= LARGEST_VOCAB:
        raise DataError(f"vocab {vocab} is not between 257 and {LARGEST_VOCAB:,}")
    tokenizers = package("tokenizers")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    bpe.pre_tokenizer = byte_level(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(documents), trainer)
    size = bpe.get_vocab_size()
    if size < vocab:
        raise DataError(f"the text has only {size:,} tokens to learn; lower vocab")

    def encode(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in bpe.encode_batch(texts)]

    return Tokenizer(
        name="byte-level BPE trained on train.bin",
        vocab=size,
        end=bpe.token_to_id(END_OF_TEXT),
        lengths=_byte_level_lengths(bpe.get_vocab(), size),
        encode=encode,
        save=lambda path: bpe.save(str(path)),
    )


def load_tiktoken(name: str) -> Encoding:
    """tiktoken's encoding of this name. Raises `DataError` if it cannot be loaded."""
    tiktoken = package("tiktoken")
    try:
        encoding: Encoding = tiktoken.get_encoding(name)
    # An unknown name, or a file that cannot be downloaded: all the same to the user.
    except Exception as error:
        text = " ".join(str(error).split())[:120]
        raise DataError(
            f"tiktoken cannot load the encoding {name!r} ({text}); give one of "
            f"{', '.join(tiktoken.list_encoding_names())} where the internet is "
            "reached, or set TIKTOKEN_CACHE_DIR to a folder that holds its file"
        ) from None
    return encoding


def _tiktoken(name: str) -> Tokenizer:
    encoding = load_tiktoken(name)

    def encode(texts: list[str]) -> list[list[int]]:
        return encoding.encode_ordinary_batch(texts)

    return Tokenizer(
        name=f"tiktoken {name}",
        vocab=encoding.n_vocab,
        end=encoding.eot_token,
        lengths=_tiktoken_lengths(encoding),
        encode=encode,
        save=None,
    )


def _byte_level_lengths(ids: Mapping[str, int], vocab: int) -> NDArray[np.uint16]:
    """The bytes of each token; each of its characters stands for one byte."""
    lengths = np.zeros(vocab, np.uint16)
    for token, index in ids.items():
        lengths[index] = 0 if token == END_OF_TEXT else len(token)
    return lengths


def _tiktoken_lengths(encoding: Encoding) -> NDArray[np.uint16]:
    lengths = np.zeros(encoding.n_vocab, np.uint16)
    for token in encoding.token_byte_values():
        lengths[encoding.encode_single_token(token)] = len(token)
    return lengths


def package(name: str) -> ModuleType:
    """The module of a package of the extra `text`. Raises `DataError` without it."""
    try:
        return import_module(name)
    except ImportError:
        raise DataError(
            f"tokenizing text needs {name}: pip install 'scaling-harness[text]'"
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


def _write(file: Path, documents: list[bytes], tokenizer: Tokenizer) -> TokenFacts:
    """The facts about the tokens written; each of the two files appears whole."""
    digest, tokens = hashlib.sha256(), 0
    dtype = id_type(tokenizer.vocab)
    width = np.dtype(dtype).itemsize

    def write(path: Path) -> None:
        nonlocal tokens
        with path.open("wb") as out:
            for document in documents:
                encoded = tokenizer.encode(list(_texts([document])))
                ids = [i for piece in encoded for i in piece] + [tokenizer.end]
                raw = np.asarray(ids, dtype).astype(f"<u{width}").tobytes()
                out.write(raw)
                digest.update(raw)
                tokens += len(ids)

    write_whole(file, write)
    size = sum(map(len, documents))
    facts = TokenFacts(
        tokenizer=tokenizer.name,
        vocab=tokenizer.vocab,
        documents=len(documents),
        tokens=tokens,
        bytes=size,
        bytes_per_token=size / tokens,
        sha256=digest.hexdigest(),
        dtype=dtype,
    )
    text = json.dumps(facts, indent=1) + "\n"
    write_whole(file.with_suffix(".json"), lambda path: path.write_text(text))
    return facts
