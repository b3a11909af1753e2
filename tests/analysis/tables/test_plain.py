"""Facts about the JSON of an analysis: what it says is what was put in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.tables.plain import dump_json


@pytest.mark.parametrize(
    "value",
    [
        ["two  spaces", "a [1,   2] in  brackets", 'a "quote" and a \\'],
        {"empty": [[], {}], "deep": [[1.5, None, True], {"é": ["x  y"]}]},
        [],
        "plain",
    ],
)
def test_json_says_what_was_put_in(value: object) -> None:
    assert json.loads(dump_json(value)) == value


def test_lists_of_plain_values_take_one_line_and_unknown_numbers_are_null() -> None:
    text = dump_json({"x": np.array([1.0, np.nan]), "y": [[1], []], "z": {"a": np.inf}})
    assert text.splitlines() == [
        "{",
        ' "x": [ 1.0, null ],',
        ' "y": [',
        "  [ 1 ],",
        "  []",
        " ],",
        ' "z": {',
        '  "a": null',
        " }",
        "}",
    ]
