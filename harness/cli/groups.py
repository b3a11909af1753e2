"""Rows of several kinds on the command line: each by itself, unless all are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.fitting.record import Fit
    from analysis.tables.table import Table

Result = TypeVar("Result")
By = Annotated[
    list[str] | None,
    typer.Option(help="A column: each of its values by itself. May be repeated."),
]
Pool = Annotated[
    bool,
    typer.Option("--pool", help="Take families, data and recipes of a sweep together."),
]


def by_group(
    rows: Table,
    compute: Callable[[Table], Result],
    by: list[str] | None,
    pool: bool,
    *,
    quiet: bool = False,
) -> Iterator[tuple[str, Result]]:
    """The result of each group of rows, by its name, as soon as it is there.

    A line says that there are groups where nobody asked for them, and another why a
    group has no result.

    Args:
        rows: of a source.
        compute: of the rows of a group.
        by: columns that are asked for.
        pool: no groups but those.
        quiet: nothing is printed.

    Raises:
        AnalysisError: the reason why no group has a result.
    """
    from analysis.tables.groups import groups_of, kinds_of

    columns = by or (() if pool else kinds_of(rows))
    groups = groups_of(rows, columns)
    several = len(groups) > 1 and not quiet
    if several and not by:
        typer.echo(
            f"rows of {len(groups)} kinds ({', '.join(columns)}), each by itself; "
            "--pool takes them together"
        )
    failures = []
    for name, part in groups.items():
        if several:
            typer.echo("")
        try:
            result = compute(part)
        except AnalysisError as error:
            failures.append(error)
            if len(failures) == len(groups):
                raise
            typer.echo(f"{name}: {error}", err=quiet)
        else:
            yield name, result


def rows_of_one_kind(rows: Table, pool: bool) -> Table:
    """The rows, if they are of one kind or all are meant.

    Raises:
        AnalysisError: they are of several kinds.
    """
    from analysis.tables.groups import of_one_kind

    return rows if pool else of_one_kind(rows)


def together(
    rows: Table, law: str, by: list[str] | None, share: list[str]
) -> tuple[Table, str]:
    """The rows with the number of each one's group, and the law of all groups.

    Args:
        rows: of a source.
        law: name of the law of one group.
        by: columns that make the groups.
        share: constants that the groups have together.

    Raises:
        AnalysisError: no columns are named, or one group.
    """
    from analysis.laws import get_law
    from analysis.laws.grouped import grouped
    from analysis.optimal.speedup import labels_in, with_kinds
    from analysis.tables.groups import groups_of

    if not by:
        raise AnalysisError("--share needs --by COLUMN, which makes the groups")
    groups = groups_of(rows, by)
    every = grouped(get_law(law), labels_in(groups), share)
    return with_kinds(groups, rows), every.name


def print_factors(fit: Fit) -> None:
    """The compute that each group of a grouped fit needs for the first one's loss."""
    from analysis.laws import get_law
    from analysis.laws.grouped import KIND, labels_of
    from analysis.optimal.speedup import multiplier_at

    law = get_law(fit.law)
    first, *others = labels_of(law)
    scale = set(law.columns) - {KIND}
    if scale not in ({"n", "d"}, {"x"}, {"c"}):
        return
    compute = fit.provenance.scale_range.get("c", (0.0, 0.0))[1]
    if scale != {"n", "d"}:
        compute = fit.provenance.scale_range[next(iter(scale))][1]
    if not compute:
        n, d = (fit.provenance.scale_range[k][1] for k in ("n", "d"))
        compute = fit.provenance.flops_per_nd * n * d
    unit = "FLOPs" if scale != {"x"} else f"of {fit.provenance.columns['x']}"
    for label in others:
        band = multiplier_at(fit, label, first, compute)
        typer.echo(
            f"  for the loss of {first} with {compute:.3g} {unit}, {label} needs "
            f"{band.value:.3g} [{band.low:.3g}, {band.high:.3g}] times as much"
        )
