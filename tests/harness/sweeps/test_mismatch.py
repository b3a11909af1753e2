"""What is said of finished runs that the present sweep does not have."""

import dataclasses
import json
import time

from harness import product
from harness.sweeps.mismatch import explain
from harness.sweeps.plan import plan
from tests.harness.strategies import text_run


def grid(warmup, widths=(8, 16), lengths=(40, 80)):
    base = text_run()
    base = dataclasses.replace(
        base, schedule=dataclasses.replace(base.schedule, warmup=warmup)
    )
    axes = {"model.width": list(widths), "steps": list(lengths)}
    return plan(product(base, axes)).runs


def finished(runs):
    """Their rows as a table holds them: lists are text."""
    rows = [planned.run.flat() | {"run_id": planned.run_id} for planned in runs]
    return [
        {k: json.dumps(v) if isinstance(v, list | tuple) else v for k, v in row.items()}
        for row in rows
    ]


def test_a_changed_field_is_named_with_both_values():
    assert explain(finished(grid(9)), grid(4)) == [
        "4 finished runs of this folder are not in this sweep; nearest difference:",
        "  4: schedule.warmup 9 → 4",
    ]


def test_nothing_is_said_where_nothing_is_to_train_or_nothing_is_left_over():
    assert explain([], grid(4)) == [] and explain(finished(grid(9)), []) == []


def test_runs_that_differ_in_other_fields_have_another_line():
    old = finished(grid(9)) + finished(grid(4, lengths=(60,)))
    first, *lines = explain(old, grid(4))
    assert first.startswith("6 finished runs") and len(lines) == 2
    assert "steps 60 →" in lines[1]


def test_many_runs_take_no_time():
    widths, lengths = [8 * k for k in range(1, 21)], range(40, 140)
    old, new = grid(9, widths, lengths), grid(4, widths, lengths)
    assert len(old) == 2_000
    rows, begin = finished(old), time.perf_counter()
    assert explain(rows, new)[1:] == ["  2000: schedule.warmup 9 → 4"]
    assert time.perf_counter() - begin < 2
