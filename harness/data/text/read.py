"""Text as windows of tokens: bytes of `.txt` files, or ready-made token files."""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import json
import lzma
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Arrays, Dataset
from harness.data.files import cache_folder
from harness.data.order import epoch_order
from harness.data.text.spec import Text
from harness.errors import DataError

AUSTEN_HELD_OUT = "persuasion"
HELD_OUT_SHARE = 0.05
"""Tail of a corpus that is held out when no other text is named."""

FETCHED = ("tiny_shakespeare", "enwik8")
"""Texts known by name that `harness data fetch` brings."""

Tokens = NDArray[Any]
"""Flat uint8 or uint16, in memory or mapped from a file."""


def resolve(spec: Text) -> Text:
    """`spec` with its content hash and the number of unique tokens filled in."""
    train, held_out = tokens(spec)
    windows = _windows(train, spec)
    _eval_windows(held_out, spec)
    available = windows * spec.context
    unique = available if spec.unique_tokens is None else spec.unique_tokens
    if unique > available:
        raise DataError(
            f"unique_tokens {unique:,} were asked for but {spec.corpus} has "
            f"{available:,} (whole windows of {spec.context})"
        )
    digest = _digest(spec.corpus, spec.held_out, _stamps(spec))
    if spec.digest not in (None, digest):
        raise DataError(
            f"{spec.corpus} has changed since its hash was {spec.digest}; "
            f"it is now {digest}"
        )
    return dataclasses.replace(
        spec,
        unique_tokens=unique,
        digest=digest,
        bytes_per_token=_bytes_per_token(spec, held_out),
    )


def load(spec: Text, seed_data: int) -> Dataset:
    """The data set of a resolved spec; raises `DataError` if its files have changed."""
    resolve(spec)
    train, held_out = tokens(spec)
    T, windows = spec.context, _windows(train, spec)
    examples: int | NDArray[np.int64] = windows
    if spec.unique < windows * T:
        # A prefix of one fixed permutation: smaller subsets lie inside larger ones.
        prefix = np.arange(spec.unique // T, dtype=np.int64)
        examples = np.sort(epoch_order(seed_data, windows, prefix))
    span = np.arange(T + 1)

    def gather(arrays: Arrays, offsets: NDArray) -> tuple[NDArray, NDArray]:
        window = arrays["tokens"][offsets[..., None] + span]
        return window[..., :-1], window[..., 1:]

    def subset(
        arrays: Arrays, index: NDArray[np.int64]
    ) -> tuple[Arrays, NDArray[np.int64]]:
        flat = arrays["tokens"][index.reshape(-1, 1) * T + span].reshape(-1)
        starts = np.arange(index.size).reshape(index.shape) * (T + 1)
        return {"tokens": flat}, starts

    # Only what is evaluated is kept: the held-out part of a corpus may be large.
    evaluated, eval_offsets = subset(
        {"tokens": held_out}, _eval_windows(held_out, spec)
    )
    return Dataset(
        train={"tokens": train},
        held_out=evaluated,
        eval_offsets=eval_offsets,
        examples=examples,
        locate=lambda index: index * T,
        gather=gather,
        subset=subset,
    )


def tokens(spec: Text) -> tuple[Tokens, Tokens]:
    """Training and held-out tokens. Raises `DataError` if either cannot be read."""
    stamps = _stamps(spec)
    _check_side_files(spec)
    largest = _largest(spec.corpus, spec.held_out, stamps)
    if largest >= spec.vocab:
        raise DataError(
            f"{spec.corpus} holds token {largest} but vocab is {spec.vocab}; "
            f"set vocab to at least {largest + 1}"
        )
    return _tokens(spec.corpus, spec.held_out, stamps)


def _eval_windows(held_out: Tokens, spec: Text) -> NDArray[np.int64]:
    """Which `eval_sequences` windows: evenly spaced over the held-out text."""
    windows = _windows(held_out, spec)
    if spec.eval_sequences > windows:
        raise DataError(
            f"eval_sequences {spec.eval_sequences:,} were asked for but the held-out "
            f"text has {windows:,} windows of {spec.context} tokens"
        )
    spaced = np.linspace(0, windows - 1, spec.eval_sequences)
    return np.round(spaced).astype(np.int64)


def _sides(pattern: str | None) -> list[tuple[Path, dict[str, Any]]]:
    """Each token file that has a JSON file beside it, and what that says."""
    if pattern in (None, "austen"):
        return []
    found = []
    for file in _files(pattern):
        side = file.with_suffix(".json")
        if file.suffix not in (".bin", ".npy") or not side.is_file():
            continue
        try:
            said = json.loads(side.read_text())
            found.append((file, {key: said[key] for key in SIDE_KEYS}))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{side} does not say vocab, tokens and bytes_per_token of "
                f"{file.name}; import the text again, or remove it"
            ) from None
    return found


SIDE_KEYS = ("vocab", "tokens", "bytes_per_token")
LENGTHS = "token_bytes.npy"
"""File beside token files: bytes of text that each token stands for."""


def _check_side_files(spec: Text) -> None:
    for pattern in (spec.corpus, spec.held_out):
        for file, side in _sides(pattern):
            held = _read_file(file)
            largest = int(held.max())
            if side["vocab"] != spec.vocab:
                raise DataError(
                    f"{file} was written with a vocabulary of {side['vocab']} (says "
                    f"{file.with_suffix('.json').name}) but Text.vocab is "
                    f"{spec.vocab}; set vocab={side['vocab']}"
                )
            if side["tokens"] != len(held) or largest >= side["vocab"]:
                raise DataError(
                    f"{file} holds {len(held):,} tokens up to {largest}, but "
                    f"{file.with_suffix('.json').name} says {side['tokens']:,} below "
                    f"{side['vocab']}; import the text again"
                )


def _bytes_per_token(spec: Text, held_out: Tokens) -> float | None:
    """Bytes of text for each evaluated target; None where no side file says it.

    Exact where the lengths of all tokens are known, so that bits per byte are those of
    the very bytes that are predicted; else the mean over the held-out files.
    """
    sides = _sides(spec.held_out or spec.corpus)
    if not sides:
        return None
    lengths = _token_bytes(sides[0][0].with_name(LENGTHS), spec)
    if lengths is not None:
        starts = _eval_windows(held_out, spec)[:, None] * spec.context
        targets = held_out[starts + np.arange(1, spec.context + 1)]
        return float(lengths[targets].mean())
    tokens = sum(side["tokens"] for _, side in sides)
    return sum(side["tokens"] * side["bytes_per_token"] for _, side in sides) / tokens


def _token_bytes(file: Path, spec: Text) -> NDArray[np.uint16] | None:
    if not file.is_file():
        return None
    lengths = _read_npy(file)
    if len(lengths) != spec.vocab:
        raise DataError(
            f"{file} has the lengths of {len(lengths):,} tokens but Text.vocab is "
            f"{spec.vocab:,}; import the text again"
        )
    return lengths


def _windows(part: Tokens, spec: Text) -> int:
    """Non-overlapping windows: each needs one token more, its last target."""
    windows = (len(part) - 1) // spec.context
    if windows < 1:
        raise DataError(
            f"{spec.corpus} has {len(part):,} tokens, fewer than one window of "
            f"context {spec.context} and its last target"
        )
    return windows


Stamps = tuple[tuple[str, int, int], ...]


def _stamps(spec: Text) -> Stamps:
    """Path, size and time of each file: a changed file is read again."""
    parts = [
        [] if part in (None, "austen") else _files(part)
        for part in (spec.corpus, spec.held_out)
    ]
    trained_on = {file.resolve() for file in parts[0]}
    for file in parts[1]:
        if file.resolve() in trained_on:
            raise DataError(f"{file} is both in the corpus and in held_out")
    files = parts[0] + parts[1]
    return tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)


@functools.lru_cache(maxsize=8)
def _tokens(corpus: str, held_out: str | None, _: Stamps) -> tuple[Tokens, Tokens]:
    train = _austen() if corpus == "austen" else _read(corpus)
    if held_out == "austen" or (corpus == "austen" and held_out is None):
        return train, _austen(held_out=True)
    if held_out:
        return train, _read(held_out)
    cut = int(len(train) * (1 - HELD_OUT_SHARE))
    return train[:cut], train[cut:]


@functools.lru_cache(maxsize=8)
def _digest(corpus: str, held_out: str | None, stamps: Stamps) -> str:
    digest = hashlib.sha256()
    for part in _tokens(corpus, held_out, stamps):
        digest.update(f"{part.dtype}{len(part)}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def _largest(corpus: str, held_out: str | None, stamps: Stamps) -> int:
    parts = _tokens(corpus, held_out, stamps)
    return max((int(part.max()) for part in parts if len(part)), default=0)


def _austen(*, held_out: bool = False) -> Tokens:
    folder = resources.files("harness.data.text") / "corpora" / "austen"
    texts = [
        lzma.decompress(file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".txt.xz")
        and file.name.startswith(AUSTEN_HELD_OUT) == held_out
    ]
    return np.frombuffer(b"".join(texts), np.uint8)


def _files(pattern: str) -> list[Path]:
    if pattern in FETCHED:
        folder = cache_folder() / pattern
        if not folder.is_dir():
            raise DataError(
                f"{pattern} is not on this machine: get it with "
                f"`harness data fetch {pattern}`"
            )
        return sorted(folder.glob("*.txt"))
    files = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
    files = [file for file in files if file.is_file()]
    if not files:
        raise DataError(
            f"no file matches corpus {pattern!r}; give 'austen' or a path or glob of "
            ".txt, .npy or .bin files"
        )
    return files


def _read(pattern: str) -> Tokens:
    parts = [_read_file(file) for file in _files(pattern)]
    if len(parts) == 1:
        return parts[0]
    if len({part.dtype for part in parts}) > 1:
        raise DataError(f"{pattern} mixes token files of different widths")
    return np.concatenate(parts)


def _read_file(file: Path) -> Tokens:
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty; leave it out or write it again")
    match file.suffix:
        case ".txt":
            return np.memmap(file, np.uint8, mode="r")
        case ".bin":
            if file.stat().st_size % 2:
                raise DataError(f"{file} has an odd size: .bin files hold uint16")
            return np.memmap(file, np.uint16, mode="r")
        case ".npy":
            return _read_npy(file)
        case suffix:
            raise DataError(f"{file}: no reader for {suffix!r}; use .txt, .npy or .bin")


def _read_npy(file: Path) -> Tokens:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file} is not a readable .npy file: {error}") from None
    if array.ndim != 1 or array.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{file} holds {array.dtype} of shape {array.shape}; tokens are a flat "
            "uint8 or uint16 array"
        )
    return array
