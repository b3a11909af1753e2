"""Text to token ids and back, by the vocabulary that a data set was written with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.data.text.bpe import load_tiktoken, package
from harness.data.text.spec import Text
from harness.data.text.token_files import SHIPPED, facts_beside, files_of
from harness.errors import DataError
from harness.specs.run import DataSpec


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """The two directions of a vocabulary."""

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    """Bytes that are no UTF-8 become U+FFFD."""


def codec_of(spec: DataSpec) -> Codec:
    """The vocabulary of a data set of text.

    Raises `DataError` if the data are no text, or nothing says how text was cut into
    its tokens.
    """
    if not isinstance(spec, Text):
        raise DataError(
            f"data of the source {spec.source!r} hold no text; use token ids"
        )
    files = files_of(spec.corpus)
    if spec.corpus == SHIPPED or all(file.suffix == ".txt" for file in files):
        return Codec(
            encode=lambda text: list(text.encode()),
            decode=_of_bytes,
        )
    for file, facts in facts_beside(spec.corpus):
        codec = _named(facts["tokenizer"], file.with_name("tokenizer.json"))
        if codec is not None:
            return codec
    raise DataError(
        f"nothing beside {spec.corpus} says how text becomes its tokens; use token "
        "ids, or write it with `harness data import text`"
    )


def _of_bytes(ids: Sequence[int]) -> str:
    # A vocabulary may be larger than it need be; 255 begins no character.
    return bytes(min(i, 255) for i in ids).decode("utf-8", errors="replace")


def _named(name: str, file: Path) -> Codec | None:
    """The codec that a token file's facts name; None if they name none."""
    kind, _, encoding = name.partition(" ")
    if kind == "tiktoken":
        known = load_tiktoken(encoding)
        return Codec(
            encode=lambda text: known.encode_ordinary_batch([text])[0],
            decode=lambda ids: known.decode(list(ids)),
        )
    if not file.is_file():
        return None
    tokenizers = package("tokenizers")
    try:
        bpe = tokenizers.Tokenizer.from_file(str(file))
    # The package raises no class of its own.
    except Exception as error:
        raise DataError(f"{file} cannot be read as a tokenizer: {error}") from None
    return Codec(
        encode=lambda text: list(bpe.encode(text).ids),
        decode=lambda ids: str(bpe.decode(list(ids), skip_special_tokens=False)),
    )
