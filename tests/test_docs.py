"""What the documents show is what is in the files, and it runs."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import MLP, RNN, LinearRNN, RandomFeatures, Transformer, ViT
from harness.cli import main
from harness.specs.task import TaskShape
from harness.store.schema import METRICS, RUN_TYPES
from tests import found
from tests.benchmarks import page as speed
from tests.harness.export.runs import run_of
from tests.harness.strategies import TINY_TEXT

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]["contracts"]
PAGES = found.PAGES


def page(name):
    return (ROOT / name).read_text()


def blocks(name):
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


def test_the_sweep_file_is_the_quick_start():
    assert page("experiments/quickstart.py") == blocks("README.md")[0]


def test_the_readme_is_short():
    assert len(page("README.md").splitlines()) <= 150


def test_the_example_of_the_readme_is_the_file():
    assert blocks("README.md")[1] == page("examples/first_study.py")
    code = page("examples/first_study.py").split('"""\n', 1)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_a_table_is_fitted_in_three_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e9, 6), [1e8, 1e9, 1e10]))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    frame = pd.DataFrame({"params": n, "tokens": d, "val_loss": loss})
    frame.to_csv("runs.csv", index=False)
    exec(blocks("README.md")[2].replace("1000", "20"), {})
    assert re.search(r"alpha +0\.34\b", capsys.readouterr().out)


def test_results_are_read_in_three_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    code, in_other_libraries, promises = blocks("docs/running.md")
    assert sum(bool(line) for line in code.split("\n")) == 3
    names: dict = {}
    exec(code, names)
    runs, curves = names["runs"], names["curves"]
    assert len(runs) == 20 and set(runs["run_id"]) == set(curves["run_id"])
    exec(in_other_libraries, {})
    exec(promises, names)
    assert len(names["PROMISES"]) == 4


def test_the_law_of_ones_own_is_fitted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_laws.py").write_text(blocks("docs/fitting.md")[0])
    width = np.geomspace(16, 1024, 12)
    loss = 1.7 + 5.0 * width**-0.5
    pd.DataFrame({"width": width, "val_loss": loss}).to_csv("runs.csv", index=False)
    (command,) = re.findall(r"harness fit .*by_width", page("docs/fitting.md"))
    monkeypatch.setattr("sys.argv", [*command.split(), "--bootstrap", "50"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert re.search(r"alpha +0\.5\b", capsys.readouterr().out)


def test_the_page_on_trained_weights_runs(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    monkeypatch.chdir(tmp_path)
    model = Transformer(width=16, depth=1, heads=2)
    run = run_of(model, TINY_TEXT, steps=3)
    names: dict = {"run": run, "inputs": np.zeros((2, 16), np.int32)}
    for block in blocks("docs/export.md"):
        exec(block, names)
        if "logits" in names:
            assert np.shape(names.pop("logits")) == (2, 16, 256)
    assert len(names["ids"]) == 60 and set(names["measured"]) >= {"loss", "loss_se"}
    assert names["again"].run == names["trained"].run


def test_the_page_on_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks("docs/python.md"):
        exec(block, names)
    assert len(names["study"].runs) == 9 and len(names["losses"]) == 9
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) > 18


def test_the_page_on_data_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names: dict = {}
    for block in blocks("docs/data.md"):
        exec(block, names)
    assert names["data"].held_out == 100 and names["text"].shape.length == 64


def test_the_new_parts_are_those_that_the_tests_train():
    names = ("new_family", "new_optimizer", "new_loss", "new_source")
    for name, block in zip(names, blocks("docs/extending.md"), strict=True):
        source = page(f"tests/harness/{name}.py").split('"""\n', 1)[1]
        assert source.strip() == block.strip()


def test_every_column_of_the_conventions_table_exists():
    named = set()
    for row in re.findall(r"^\| (`.*?) \|", page("docs/conventions.md"), re.MULTILINE):
        named |= set(re.findall(r"`(\w+)`", row))
    counts = {name for name in RUN_TYPES if name.startswith(("n_", "flops_"))}
    assert counts <= named <= RUN_TYPES.keys()


TOKENS = TaskShape(kind="tokens", length=24, inputs=50, outputs=50, target="next_token")
VECTORS = TaskShape(kind="vectors", length=1, inputs=9, outputs=3)
IMAGES = TaskShape(
    kind="images", length=1, inputs=3, outputs=10, target="class", size=(8, 8)
)
EXAMPLES = {
    "transformer": (
        Transformer(width=24, depth=3, heads=6, kv_heads=2, ffn=40, mlp="swiglu"),
        TOKENS,
        {"L": 3, "D": 24, "G": 2, "K": 4, "F": 40, "T": 24, "V": 50, "R": 24, "m": 3},
    ),
    "vit": (
        ViT(width=16, depth=2, heads=2, patch=4),
        IMAGES,
        {"L": 2, "D": 16, "F": 64, "C": 3, "p": 4, "T": 4, "V": 10},
    ),
    "mlp": (MLP(width=16, depth=3), VECTORS, {"I": 9, "D": 16, "L": 3, "V": 3}),
    "rnn": (
        RNN(cell="lstm", width=12, depth=2),
        TOKENS,
        {"L": 2, "D": 12, "g": 4, "T": 24, "R": 24, "V": 50},
    ),
    "linear_rnn": (
        LinearRNN(width=16, depth=2),
        TOKENS,
        {"L": 2, "D": 16, "F": 64, "T": 24, "R": 24, "V": 50},
    ),
    "random_features": (RandomFeatures(width=32), VECTORS, {"I": 9, "D": 32, "V": 3}),
}


@pytest.mark.parametrize("family", EXAMPLES)
def test_the_formulas_of_the_conventions_are_the_counts(family):
    model, task, letters = EXAMPLES[family]
    (row,) = re.findall(
        rf"^\| {family}\b.*$", page("docs/conventions.md"), re.MULTILINE
    )
    body, head, flops = re.findall(r"`(.*?)`", row)
    n = model.params(task)
    assert n.body_matrices == eval(body, dict(letters))
    assert n.head_matrix == eval(head, dict(letters))
    forward = eval(flops, letters | {"body": n.body_matrices, "head": n.head_matrix})
    assert model.forward_flops(task).full == forward


@pytest.mark.parametrize(
    ("table", "columns"),
    [("METRICS", set(METRICS.names)), ("RUN_TYPES", set(RUN_TYPES))],
)
def test_the_architecture_names_every_column(table, columns):
    text = page("docs/architecture.md")
    text = text.split(f"<!-- columns: {table} -->")[1].split("<!-- end -->")[0]
    assert set(re.findall(r"`([\w.]+)`", text)) == columns


def test_the_architecture_lists_the_folders_in_the_order_of_their_floors():
    text = page("docs/architecture.md")
    for package in ("harness", "analysis"):
        table = text.split(f"| `{package}/` |")[1].split("\n\n")[0]
        named = re.findall(r"^\| `(\w+)(?:\.py)?` \|", table, re.MULTILINE)
        layers = next(
            c["layers"] for c in CONTRACTS if c.get("containers") == [package]
        )
        assert ["errors", *named] == layers[::-1]
        there = {
            path.stem
            for path in (ROOT / package).iterdir()
            if not path.name.startswith(("_", "py.typed"))
        }
        assert {"errors", *named} == there


@pytest.mark.parametrize(
    ("path", "link"),
    [(p, link) for p in PAGES for link in re.findall(r"\]\(([^)]+)\)", p.read_text())],
)
def test_links_lead_somewhere(path, link):
    assert link.startswith("http") or (path.parent / link.split("#")[0]).exists()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_name_files_that_exist(path):
    named = re.findall(r"`((?:harness|analysis|docs|tests)/[\w/.]*)`", path.read_text())
    for name in named:
        assert (ROOT / name.split("NAME")[0]).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_numbers_of_results_in_documents_come_from_them(path):
    text = path.read_text()
    assert text == found.fresh(text), "python -m tests.found writes the blocks anew"


def test_the_readme_tells_what_was_found():
    assert len(found.BLOCK.findall(page("README.md"))) >= 1
    with pytest.raises(ValueError, match="no sentence of quickstart contains 'luck'"):
        found.block("quickstart", "luck")


NO_RESULTS = {
    "3.11": "requires-python",
    "95 %": "the level of intervals",
    "98 %": "an example of a promise",
}
"""Numbers outside code and generated blocks that are none of results."""


@pytest.mark.parametrize(
    "path",
    [p for p in PAGES if p.stem not in ("speed", "conventions")],
    ids=lambda path: path.stem,
)
def test_no_measured_number_is_typed_into_a_document(path):
    """The page of speed is generated, that of conventions cites published numbers."""
    text = found.BLOCK.sub("", path.read_text())
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"^( {4}.*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "", text)
    typed = set(re.findall(r"\d+\.\d+|\d+ ?%|\d+ times", text))
    assert typed <= NO_RESULTS.keys()


def test_the_page_of_speed_is_what_the_benchmarks_printed():
    assert page("docs/speed.md") == speed.page()
