"""Results folders of format 1, written again: their specs get version 2.

Version 1 had one spec `optim` for optimiser, schedule, penalties and label smoothing.
What it says maps to the parts of version 2 one to one, so finished runs keep their
numbers and get new ids: specs, rows, long rows, sweeps and coordinates are converted.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import StoreError
from harness.specs.canonical import JsonObject, hash_id
from harness.specs.run import RunSpec
from harness.store.read import Store
from harness.store.write import (
    add_metrics,
    add_record,
    add_sweep,
    create_store,
    refresh_runs,
)

OPTIMIZERS = {
    "adamw": ("lr", "clip", "weight_decay", "beta1", "beta2", "eps"),
    "sgd": ("lr", "clip", "weight_decay", "momentum"),
}
SCHEDULES = {
    "wsd": ("warmup", "cooldown", "final"),
    "cosine": ("warmup", "final"),
    "constant": ("warmup",),
}
"""The fields that each used, by its name."""
PENALTIES = ("l1", "l2")
SMOOTHING = "label_smoothing"
ADDED = (*PENALTIES, SMOOTHING)
"""Fields that old specs may lack; they were 0 then."""


def convert(old: Store, to: Path) -> int:
    """Writes all that is finished in `old` into a new folder; returns how many runs.

    What was being trained is left behind, and so are fits and pages.
    """
    if to.exists():
        raise StoreError(f"{to} is there already; name a new folder")
    new, ids = create_store(to), {}
    for run_id in sorted(old.finished()):
        record = old.record(run_id)
        run = RunSpec.from_dict(new_spec(record["spec"]))
        ids[run_id] = run.run_id
        rows = old.metrics(run_id).to_pylist()
        stamp = add_metrics(
            new, run.run_id, [{**r, "run_id": run.run_id} for r in rows]
        )
        row = new_row(record["row"], run)
        add_record(
            new,
            {
                **{k: v for k, v in record.items() if k != "seal"},
                "run_id": run.run_id,
                "spec": run.to_dict(),
                "metrics": stamp,
                "row": row,
            },
        )
    docs = old.json("sweep.json") if old.files.exists("sweep.json") else {}
    for sweep in old.sweeps():
        add_sweep(new, {**new_sweep(sweep), "doc": docs.get("doc", "")})
    refresh_runs(new)
    return len(ids)


def new_spec(old: JsonObject) -> JsonObject:
    """The spec of version 2 that says what one of version 1 says."""
    spec = {name: value for name, value in old.items() if name != "optim"}
    optim = {**dict.fromkeys(ADDED, 0.0), **old["optim"]}
    spec["optimizer"] = _part(optim["optimizer"], OPTIMIZERS, optim)
    spec["schedule"] = _part(optim["schedule"], SCHEDULES, optim)
    spec |= {name: optim[name] for name in PENALTIES}
    if optim[SMOOTHING]:
        smoothed = {"name": "smoothed_likelihood", SMOOTHING: optim[SMOOTHING]}
        spec["loss"] = smoothed
    return spec


def _part(
    name: str, fields: dict[str, tuple[str, ...]], optim: JsonObject
) -> JsonObject:
    if name not in fields:
        raise StoreError(f"runs with {name!r}, which is of your own, are not converted")
    return {"name": name, **{field: optim[field] for field in fields[name]}}


def new_row(old: JsonObject, run: RunSpec) -> JsonObject:
    """The row of a run with the columns of its new spec."""
    kept = {k: v for k, v in old.items() if not k.startswith("optim.")}
    flat = json.loads(json.dumps(run.flat()))
    return {**kept, **flat, "run_id": run.run_id, "flops_optimizer": 0}


def new_sweep(old: JsonObject) -> JsonObject:
    """A frozen sweep with new specs, ids and names of coordinates."""
    points = []
    for point in old["points"]:
        run = RunSpec.from_dict(new_spec(point["spec"]))
        run_id, trunk_id = run.ids()
        coords = {new_path(k, point["spec"]): v for k, v in point["coords"].items()}
        ids = {"run_id": run_id, "trunk_id": trunk_id}
        points.append({**point, **ids, "coords": coords, "spec": run.to_dict()})
    places = sorted((p["run_id"], sorted(p["coords"].items())) for p in points)
    kept = {k: v for k, v in old.items() if k not in ("seal", "created")}
    return {**kept, "sweep_id": hash_id(places), "points": points}


def new_path(path: str, spec: JsonObject) -> str:
    """The path of an axis in version 2; `optim` as a whole was its schedule's."""
    part, _, field = path.partition(".")
    if part != "optim":
        return path
    if field in PENALTIES:
        return field
    if field == SMOOTHING:
        return f"loss.{field}"
    if field in ("", "schedule"):
        return "schedule"
    if field == "optimizer":
        return "optimizer"
    of_schedule = field in SCHEDULES[spec["optim"]["schedule"]]
    return f"schedule.{field}" if of_schedule else f"optimizer.{field}"
