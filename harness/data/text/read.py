"""Text as windows of tokens: bytes of `.txt` files, or ready-made token files."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from harness.data.dataset import Arrays, Dataset, Pair
from harness.data.files import Array, Stamps, check_unchanged, content_hash, stamps
from harness.data.order import Index, enough, epoch_order, evenly
from harness.data.text.spec import Text
from harness.data.text.token_files import (
    SHIPPED,
    Tokens,
    austen,
    check_facts,
    document_starts,
    documents_file,
    facts_beside,
    files_of,
    read_corpus,
    token_lengths,
)
from harness.errors import DataError

HELD_OUT_SHARE = 0.05
"""Tail of a corpus that is held out when no other text is named."""
SEARCHED = 2**20
"""Tokens that are searched for the end of a document at once."""
BY_FILE = "file"
Units = int | str | None


def resolve(spec: Text) -> Text:
    """`spec` with its content hash and the number of unique tokens filled in.

    Raises `DataError` for missing, changed or malformed files, and for too few tokens.
    """
    train, held_out = tokens(spec)
    bytes_per_token = _bytes_per_token(spec, held_out)
    digest = _digest(spec.corpus, spec.held_out, _units(spec), _stamps(spec))
    check_unchanged(spec.corpus, spec.digest, digest)
    unique = enough(
        "unique_tokens",
        spec.unique_tokens,
        _windows(train, spec) * spec.context,
        spec.corpus,
        f"in whole windows of {spec.context}",
    )
    return dataclasses.replace(
        spec, unique_tokens=unique, digest=digest, bytes_per_token=bytes_per_token
    )


def load(spec: Text, seed_data: int) -> Dataset:
    """The data set of a resolved spec; raises `DataError` if its files have changed."""
    spec = resolve(spec)
    train, held_out = tokens(spec)
    T, windows = spec.context, _windows(train, spec)
    examples: int | Index = windows
    if spec.unique < windows * T:
        # A prefix of one fixed permutation: smaller subsets lie inside larger ones.
        prefix = np.arange(spec.unique // T, dtype=np.int64)
        examples = np.sort(epoch_order(seed_data, windows, prefix))
    span = np.arange(T + 1)

    def gather(arrays: Arrays, offsets: Array) -> Pair:
        window = arrays["tokens"][offsets[..., None] + span]
        return window[..., :-1], window[..., 1:]

    def subset(arrays: Arrays, index: Index) -> tuple[Arrays, Index]:
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
    check_facts(spec.corpus, spec.vocab)
    check_facts(spec.held_out, spec.vocab)
    parts = (spec.corpus, spec.held_out, _units(spec), stamps)
    largest = _largest(*parts)
    if largest >= spec.vocab:
        raise DataError(
            f"{spec.corpus} holds token {largest} but vocab is {spec.vocab}; "
            f"set vocab to at least {largest + 1}"
        )
    return _tokens(*parts)


def _windows(text: Tokens, spec: Text) -> int:
    """The number of windows that do not overlap.

    Each needs one token more than `context`, its last target.
    """
    windows = (len(text) - 1) // spec.context
    if windows < 1:
        raise DataError(
            f"{spec.corpus} has {len(text):,} tokens, fewer than one window of "
            f"context {spec.context} and its last target"
        )
    return windows


def _eval_windows(held_out: Tokens, spec: Text) -> Index:
    """`eval_sequences` windows, evenly spaced over the held-out text."""
    windows = _windows(held_out, spec)
    unit = f"windows of {spec.context} tokens"
    enough("eval_sequences", spec.eval_sequences, windows, "the held-out text", unit)
    return evenly(windows, spec.eval_sequences)


def _bytes_per_token(spec: Text, held_out: Tokens) -> float | None:
    """Bytes of text for each evaluated target; None where no JSON file says it.

    Exact where the lengths of all tokens are known, so that bits per byte are those of
    the very bytes that are predicted; else the mean over the held-out files.
    """
    evaluated = _eval_windows(held_out, spec)
    files = facts_beside(spec.held_out or spec.corpus)
    if not files:
        return None
    lengths = token_lengths(files[0][0], spec.vocab)
    if lengths is not None:
        starts = evaluated[:, None] * spec.context
        targets = held_out[starts + np.arange(1, spec.context + 1)]
        return float(lengths[targets].mean())
    if not all("bytes_per_token" in facts for _, facts in files):
        return None
    n_tokens = sum(facts["tokens"] for _, facts in files)
    n_bytes = sum(facts["tokens"] * facts["bytes_per_token"] for _, facts in files)
    return n_bytes / n_tokens


def _stamps(spec: Text) -> Stamps:
    train, held_out = files_of(spec.corpus), files_of(spec.held_out)
    trained_on = {file.resolve() for file in train}
    for file in held_out:
        if file.resolve() in trained_on:
            raise DataError(f"{file} is both in the corpus and in held_out")
    beside = [documents_file(file) for file in train if _units(spec) == BY_FILE]
    return stamps(train + held_out + [file for file in beside if file.is_file()])


def _units(spec: Text) -> Units:
    """The end of the units of hold-out: an id, a file's, or None for single tokens."""
    if spec.hold_out == "tail":
        return None
    return BY_FILE if spec.separator is None else spec.separator


@functools.lru_cache(maxsize=8)
def _tokens(
    corpus: str, held_out: str | None, units: Units, _: Stamps
) -> tuple[Tokens, Tokens]:
    train = austen() if corpus == SHIPPED else read_corpus(corpus)
    if (held_out or corpus) == SHIPPED:
        return train, austen(held_out=True)
    if held_out:
        return train, read_corpus(held_out)
    cut = int(len(train) * (1 - HELD_OUT_SHARE))
    if units is not None:
        cut = _at_document(corpus, train, cut, units)
    return train[:cut], train[cut:]


def _at_document(corpus: str, train: Tokens, cut: int, units: int | str) -> int:
    """The start of the last document that starts at or before `cut`.

    Raises `DataError` where that is the first of all: nothing would be trained on.
    """
    if units == BY_FILE:
        starts = document_starts(corpus)
        start = int(starts[np.searchsorted(starts, cut, side="right") - 1])
    else:
        start = _after_last(train, cut, int(units))
    if start == 0:
        raise DataError(
            f"{corpus}: the document that holds the last {HELD_OUT_SHARE:.0%} of the "
            "tokens is the first one; give more documents, or name held_out"
        )
    return start


def _after_last(tokens: Tokens, cut: int, separator: int) -> int:
    """The position after the last `separator` before `cut`; 0 if there is none."""
    for end in range(cut, 0, -SEARCHED):
        start = max(0, end - SEARCHED)
        if len(found := np.flatnonzero(tokens[start:end] == separator)):
            return start + int(found[-1]) + 1
    return 0


@functools.lru_cache(maxsize=8)
def _digest(corpus: str, held_out: str | None, units: Units, stamps: Stamps) -> str:
    # Every id of a run on text depends on this heading.
    heading = lambda text: f"{text.dtype}{len(text)}"  # noqa: E731
    return content_hash(*_tokens(corpus, held_out, units, stamps), heading=heading)


@functools.lru_cache(maxsize=8)
def _largest(corpus: str, held_out: str | None, units: Units, stamps: Stamps) -> int:
    texts = _tokens(corpus, held_out, units, stamps)
    return max((int(text.max()) for text in texts if len(text)), default=0)
