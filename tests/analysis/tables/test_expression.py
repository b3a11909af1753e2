"""Facts about expressions: limits on what they may be, and texts that stay texts."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.tables.expression import DEEPEST, LONGEST, condition, evaluate

FRAME = pd.DataFrame({"n": [1, 2], "name": ["a", "b"], "mixed": [1, "b"]})

HOSTILE = {
    "thirty thousand signs": ("-" * 30_000 + "1", "characters; at most 10,000"),
    "five thousand signs": ("-" * 5_000 + "1", "nested more than 200"),
    "eight thousand terms": ("+".join(["1"] * 8_000), "at most 10,000"),
    "four thousand terms": ("+".join(["n"] * 4_000), "nested more than 200"),
    "brackets": ("(" * 4_000 + "1" + ")" * 4_000, "cannot read|nested more"),
    "nots": ("not " * 2_000 + "(n > 1)", "nested more than 200"),
    "a format": ("'%9999999999d' % 1", "is not a number"),
    "a long text": ("'a' * 9999999999", "is not a number"),
    "a long list": ("[1] * 9999999999", "is not a number"),
    "a column of texts": ("name * 2", "is not a number"),
    "texts added": ("name + name", "is not a number"),
    "texts ordered": ("name < 'b'", "only == and"),
    "part of a text": ("'a' in name", "only == and"),
    "part of one text": ("'a' in 'abc'", "only == and"),
    "a mixed column": ("mixed > 1", "only == and"),
    "a sign before a text": ("-name", "is not a number"),
    "a logarithm of a text": ("log(name)", "is not a number"),
    "a tower": ("9 ** 9 ** 9 ** 9", "cannot compute"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_too_long_too_deep_or_no_number_is_one_short_line(kind: str) -> None:
    text, words = HOSTILE[kind]
    began = time.perf_counter()
    with pytest.raises(AnalysisError, match=words) as told:
        evaluate(text, FRAME)
    assert time.perf_counter() - began < 2.0
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


def test_limits_are_not_in_the_way() -> None:
    sum_of_many = "+".join(["n"] * (DEEPEST - 2))
    assert evaluate(sum_of_many, FRAME).tolist() == [DEEPEST - 2, 2 * (DEEPEST - 2)]
    padded = "n" + " " * (LONGEST - 1)
    assert evaluate(padded, FRAME).tolist() == [1, 2]
    anything = " or ".join(f"n == {k}" for k in range(500))
    assert condition(anything, FRAME).all()


def test_texts_are_equal_or_in_a_list() -> None:
    assert condition("name == 'a'", FRAME).tolist() == [True, False]
    assert condition("name != 'a' and n > 1", FRAME).tolist() == [False, True]
    assert condition("name not in ['a', 'c']", FRAME).tolist() == [False, True]
    assert condition("mixed == 'b'", FRAME).tolist() == [False, True]


def test_columns_of_objects_that_are_numbers_are_numbers() -> None:
    frame = pd.DataFrame({"x": np.array([1, None, 2.5], dtype=object)})
    assert evaluate("x == 1", frame).tolist() == [True, False, False]
    nullable = pd.DataFrame({"x": pd.array([1, 2], dtype="Int64")})
    assert evaluate("-x * 2", nullable).tolist() == [-2, -4]
