"""Why finished runs of a results folder are not runs of the present sweep."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.sweeps.plan import PlannedRun

SHOWN = 3
"""Most groups of runs that get a line of their own."""

CODE = ".code"
"""End of the columns that hold the digest of a part's source."""

Row = Mapping[str, object]
Change = tuple[str, object, object]
"""A field, and its value in the finished and in the present run."""


def explain(finished: Sequence[Row], unfinished: Sequence[PlannedRun]) -> list[str]:
    """The lines that say how finished runs differ from the unfinished runs of a sweep.

    Each of the `finished` (flat specs of runs that are not in the sweep) is compared
    with the unfinished run from which it differs in the fewest fields. Those that
    differ in the same fields share a line. There are none if nothing is unfinished.
    """
    if not finished or not unfinished:
        return []
    groups: defaultdict[tuple[str, ...], list[list[Change]]] = defaultdict(list)
    for changes in _nearest(finished, [_cells(p.run.flat()) for p in unfinished]):
        groups[tuple(field for field, *_ in changes)].append(changes)
    largest = sorted(groups.values(), key=len, reverse=True)
    count = len(finished)
    noun, verb = ("run", "is") if count == 1 else ("runs", "are")
    lines = [
        f"{count} finished {noun} of this folder {verb} not in this sweep; "
        "nearest difference:"
    ]
    lines += [f"  {len(group)}: {_text(group)}" for group in largest[:SHOWN]]
    if more := sum(map(len, largest[SHOWN:])):
        lines.append(f"  {more}: other fields")
    return lines


def older_code(finished: Sequence[Row], present: Iterable[Row]) -> int:
    """How many finished runs differ from a present one in the code of parts alone.

    Both are flat specs; the finished ones are no runs of the sweep.
    """
    if not finished:
        return 0
    specs = [_without_code(_cells(row)) for row in present]
    fields = {field for spec in specs for field, _ in spec}
    known = set(specs)
    return sum(
        _without_code({k: v for k, v in row.items() if k in fields}) in known
        for row in finished
    )


def _without_code(row: Row) -> frozenset[tuple[str, object]]:
    """The fields that have a value, but for the digests of code.

    A column of a table has one type: whole numbers may have become floats in it.
    """
    return frozenset(
        (name, value)
        for name, value in row.items()
        if value is not None and not name.endswith(CODE)
    )


def _nearest(finished: Sequence[Row], present: Sequence[Row]) -> Iterator[list[Change]]:
    """The changes from each finished run to the present run nearest to it.

    Fields that all present runs share differ from each of them alike; so the nearest
    is the one with most equal values in the fields that vary. One with all of them is
    looked up, any other is voted for: there is no pass over all pairs.
    """
    fields = sorted({field for row in present for field in row})
    holders: dict[tuple[str, object], list[int]] = {}
    varying = [f for f in fields if len({row.get(f) for row in present}) > 1]
    for field in varying:
        for index, row in enumerate(present):
            holders.setdefault((field, row.get(field)), []).append(index)
    memory: dict[tuple[object, ...], int] = {}
    for index, row in enumerate(present):
        memory.setdefault(tuple(row.get(field) for field in varying), index)
    for row in finished:
        key = tuple(row.get(field) for field in varying)
        if key not in memory:
            votes = Counter[int]()
            for pair in zip(varying, key, strict=True):
                votes.update(holders.get(pair, ()))
            memory[key] = votes.most_common(1)[0][0] if votes else 0
        nearest = present[memory[key]]
        yield [
            (field, row[field], nearest.get(field))
            for field in fields
            if field in row and row[field] != nearest.get(field)
        ]


def _cells(flat: Row) -> dict[str, object]:
    """A flat spec with the values that a table holds: lists are text there."""
    return {
        key: json.dumps(list(value)) if isinstance(value, list | tuple) else value
        for key, value in flat.items()
    }


def _text(group: Iterable[Sequence[Change]]) -> str:
    """The changes of a group; values where all of its runs have the same."""
    columns = list(zip(*group, strict=True))
    if not columns:
        return "no field of the spec (made by another version)"
    texts = []
    for column in columns:
        field, old, new = column[0]
        same = len(set(column)) == 1
        texts.append(
            f"{field} {old} → {new}" if same else f"{field} (e.g. {old} → {new})"
        )
    return ", ".join(texts)
