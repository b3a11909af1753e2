"""Commands about data sets: list, fetch, import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import progress
from rich.console import Console

from harness.cli.options import AsJson, command_group
from harness.data.catalog import CATALOG
from harness.data.download import fetch as fetching
from harness.data.download import hub
from harness.data.text import bpe, token_import

app = command_group()
sets = typer.Typer(
    help="Data sets on this machine.", no_args_is_help=True, rich_markup_mode=None
)
importer = typer.Typer(
    help="Bring data of your own into a form that sweeps read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(sets, name="data")
sets.add_typer(importer, name="import")


@sets.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the data sets that are known by name, and which are here."""
    folders = fetching.present()
    rows = [
        {
            "name": name,
            "folder": str(folders[name]) if name in folders else None,
            "summary": CATALOG[name].summary if name in CATALOG else "",
        }
        for name in [*CATALOG, *(n for n in folders if n not in CATALOG)]
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    typer.echo(f"{'austen':<17} {'shipped':<8} six novels by Jane Austen")
    for row in rows:
        state = "here" if row["folder"] else "-"
        typer.echo(f"{row['name']:<17} {state:<8} {row['summary']}")


@sets.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name that `harness data list` shows.")],
    force: Annotated[bool, typer.Option(help="Even if it is here already.")] = False,
) -> None:
    """Download a data set into the cache, checked against its sha256."""
    fetching.known(name)
    bar = _progress_bar(Console(stderr=True))
    tasks: dict[str, progress.TaskID] = {}

    def show(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bar.add_task(file)
        bar.update(tasks[file], completed=done, total=total)

    with bar:
        folder = fetching.fetch(name, force=force, progress=show)
    typer.echo(f"{name}: {folder}")


def _progress_bar(console: Console) -> progress.Progress:
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        console=console,
    )


@importer.command("images")
def import_images(
    name: Annotated[str, typer.Argument(help="mnist or fashion_mnist.")],
    folder: Annotated[Path, typer.Argument(help="Where its files are.")],
) -> None:
    """Use files of a known data set that came from elsewhere; contents are checked."""
    typer.echo(f"{name}: {fetching.adopt(name, folder)}")


@importer.command("text")
def import_text(
    files: Annotated[list[str], typer.Argument(help="Text files, or globs of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the token files.")],
    vocab: Annotated[int, typer.Option(help="Tokens of a BPE trained on them.")] = 8192,
    encoding: Annotated[
        str | None, typer.Option(help="Instead: one of tiktoken's, such as gpt2.")
    ] = None,
    held_out: Annotated[
        list[str] | None, typer.Option(help="Whole works to hold out.")
    ] = None,
    held_out_share: Annotated[
        float, typer.Option(help="Else: share of the last documents to hold out.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Turn text into token files; a line with one NUL byte separates documents."""
    sides = bpe.import_text(
        files,
        out,
        vocab=vocab,
        encoding=encoding,
        held_out=held_out,
        held_out_share=held_out_share,
    )
    if as_json:
        typer.echo(json.dumps(sides, indent=1))
        return
    for name, side in sides.items():
        typer.echo(
            f"{out / name}.bin: {side['tokens']:,} tokens, {side['documents']:,} "
            f"documents, {side['bytes_per_token']:.2f} bytes a token"
        )
    typer.echo(
        f"use: Text(corpus='{out}/train.bin', held_out='{out}/held_out.bin', "
        f"vocab={sides['train']['vocab']})"
    )


@importer.command("tokens")
def import_tokens(
    source: Annotated[
        Path,
        typer.Argument(
            help="An .npy, .npz or parquet file, or a folder saved by Hugging Face."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the token file.")],
    column: Annotated[
        str | None, typer.Option(help="Column, or array, of the ids.")
    ] = None,
    vocab: Annotated[
        int | None, typer.Option(help="Size of the vocabulary; else read off the ids.")
    ] = None,
    separator: Annotated[
        int | None, typer.Option(help="An id to write after each document.")
    ] = None,
) -> None:
    """Bring token ids into one file; each row of lists is a document."""
    done = token_import.import_tokens(
        source, out, column=column, vocab=vocab, separator=separator
    )
    typer.echo(
        f"{done.file}: {done.tokens:,} tokens, {done.documents:,} documents, "
        f"sha256 {done.sha256[:16]}…"
    )
    typer.echo(f"use: {done.source(separator)}")


@importer.command("hf")
def import_hf(
    name: Annotated[str, typer.Argument(help="A data set's name, or a folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    config: Annotated[str | None, typer.Option(help="One of its configs.")] = None,
    train: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    test: Annotated[
        str | None, typer.Option(help="Split to evaluate; else test or validation.")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="Column of images, text or lists of numbers.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column of the targets.")] = None,
) -> None:
    """Bring a Hugging Face data set: images, rows of numbers, or text."""
    selection = hub.Selection(
        name=name, config=config, train=train, test=test, inputs=inputs, target=target
    )
    typer.echo(f"use: {hub.import_hf(selection, out)}")
