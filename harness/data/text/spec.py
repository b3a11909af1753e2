"""The spec of text as bytes or tokens: its corpus, its context, how much is used."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

from harness.errors import SpecError
from harness.specs.base import added, at_least, spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape


@spec
class Text(DataSpec):
    """Next-token prediction on windows of `context` tokens cut from text.

    `corpus` is "austen" (shipped: five novels to train on, *Persuasion* held out), or a
    path or glob of `.txt` files (read as bytes), `.npy` (uint8, uint16 or uint32) or
    `.bin` token files (raw uint16, or what the JSON file beside it says), or a text
    that `harness data list` names ("enwik8"). With the JSON file that `harness data
    import` writes beside a token file, `vocab` is checked and bits per byte are known,
    exactly those of the evaluated windows.
    `held_out` is another such path, or "austen" for that novel; without it the last 5 %
    of the corpus, a contiguous piece, is held out. With `hold_out` "documents" that
    piece begins with a document, so that none is both trained on and held out:
    documents end at the token `separator`, or are those of the file
    `NAME.documents.npy` that `harness data import tokens` writes beside NAME.
    `unique_tokens` keeps only that many training tokens (a multiple of `context`;
    smaller subsets lie inside larger ones). `eval_sequences` windows, evenly spaced
    over the held-out text, are evaluated.
    """

    source = "text"
    reader = "harness.data.text.read"
    corpus: str = dataclasses.field(default="austen", metadata={"identity": False})
    held_out: str | None = dataclasses.field(default=None, metadata={"identity": False})
    context: int = 128
    vocab: int = 256
    unique_tokens: int | None = None
    eval_sequences: int = 256
    digest: str | None = None
    bytes_per_token: float | None = dataclasses.field(
        default=None, metadata={"identity": False}
    )
    hold_out: Literal["tail", "documents"] = added(default="tail")
    separator: int | None = added(default=None)

    def validate(self) -> None:
        at_least(self, 1, "context", "unique_tokens")
        at_least(self, 2, "vocab", "eval_sequences")
        at_least(self, 0, "separator")
        if self.hold_out == "documents" and self.held_out is not None:
            raise SpecError(
                "Text.hold_out 'documents' has no effect with held_out, which names "
                "what is held out"
            )
        if self.separator is not None and self.hold_out != "documents":
            raise SpecError("Text.separator has no effect without hold_out='documents'")
        if self.separator is not None and self.separator >= self.vocab:
            raise SpecError(
                f"Text.separator {self.separator} is no token of a vocabulary of "
                f"{self.vocab}"
            )
        if self.unique_tokens is not None and self.unique_tokens % self.context:
            nearest = max(1, round(self.unique_tokens / self.context)) * self.context
            raise SpecError(
                f"Text.unique_tokens {self.unique_tokens} is not a multiple of "
                f"context {self.context}; use {nearest}"
            )

    @property
    def shape(self) -> TaskShape:
        return _text_shape(self.context, self.vocab)

    @property
    def resolved(self) -> bool:
        return self.digest is not None and self.unique_tokens is not None

    @property
    def unique(self) -> int:
        if self.unique_tokens is None:
            raise SpecError("unique_tokens is not known before the corpus is read")
        return self.unique_tokens

    def program_key(self) -> tuple[object, ...]:
        # A subset is a choice of windows of the same token array.
        return (self.digest, self.eval_sequences)


@functools.cache
def _text_shape(context: int, vocab: int) -> TaskShape:
    return TaskShape(
        kind="tokens",
        length=context,
        inputs=vocab,
        outputs=vocab,
        target="next_token",
    )
