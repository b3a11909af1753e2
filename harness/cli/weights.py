"""Commands about trained weights: sample, export.

Their imports wait until they run: jax takes longer to start than their help.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.options import Folder, command_group
from harness.errors import SpecError, UnknownTagError

if TYPE_CHECKING:
    from harness.export.trained import Trained

app = command_group()

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, or the first digits of it.")
]
ExperimentFile = Annotated[
    str | None,
    typer.Option("--experiment", help="Its file, if that defines parts of its own."),
]


@app.command()
def sample(
    folder: Folder,
    run: RunName,
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="What it goes on from; token ids where the data are no text.",
        ),
    ],
    tokens: Annotated[int, typer.Option(help="How many tokens to draw.")] = 200,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; 0 takes the likeliest token.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw from so many of the likeliest tokens.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same tokens.")] = 0,
    experiment: ExperimentFile = None,
) -> None:
    """Let a trained language model go on from a prompt."""
    trained = _load(folder, run, experiment)
    from harness.data.text.spec import Text

    if isinstance(trained.run.data, Text):
        text = trained.sample(prompt, tokens, temperature, top_k, seed)
        typer.echo(prompt + text)
        return
    ids = _ids(prompt)
    drawn = trained.sample(ids, tokens, temperature, top_k, seed)
    typer.echo(" ".join(map(str, ids + drawn)))


@app.command()
def export(
    folder: Folder,
    run: RunName,
    to: Annotated[
        Literal["safetensors", "stablehlo", "onnx"],
        typer.Option(help="The form of the file."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file [default: the run's id, the form as suffix]."),
    ] = None,
    experiment: ExperimentFile = None,
) -> None:
    """Write a trained model for other programs: safetensors, StableHLO or ONNX."""
    trained = _load(folder, run, experiment)
    from harness.export.files import write

    path = out or Path(f"{trained.run.run_id}.{to}")
    batch = write(trained, to, path)
    size = f"{path}: {path.stat().st_size:,} bytes"
    if batch is not None:
        size += f", for batches of {batch} alone: the family needs a fixed size"
    typer.echo(size)


def _load(folder: str, run: str, experiment: str | None) -> Trained:
    """The trained run. Raises what `load_trained` raises."""
    from harness.cli.experiment import load
    from harness.export.load import load_trained
    from harness.store import open_store
    from harness.training import device

    store = open_store(folder)
    if experiment:
        load(experiment, [])
    device.enable_compile_cache()
    try:
        return load_trained(store, run)
    except UnknownTagError as error:
        raise SpecError(
            f"this run uses the {error.kind} {error.name!r}, which its experiment's "
            "file defines; give --experiment FILE"
        ) from None


def _ids(text: str) -> list[int]:
    try:
        ids = json.loads(f"[{','.join(text.split())}]")
    except ValueError:
        ids = [None]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise SpecError(
            f"the run's data are no text; give token ids, such as '3 1 4', not {text!r}"
        )
    return list(ids)
