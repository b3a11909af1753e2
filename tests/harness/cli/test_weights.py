"""`harness sample` and `harness export`: what they write, and what they refuse."""

import dataclasses

import jax
import numpy as np
import pytest

from harness import RNN, Trained
from harness.export.load import load_trained
from harness.store import add_record, create_store
from harness.store.weights import publish_weights
from harness.training.tensors import tensor_bytes
from harness.workers.worker import work
from tests.harness.export.runs import TOKENS, drawn, inputs_of
from tests.harness.strategies import TINY_TEXT, mlp_run, planned


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A results folder that keeps the weights of two runs, and not of a third."""
    store = create_store(str(tmp_path_factory.mktemp("results") / "store"))
    work(store, plan := planned(mlp_run(steps=40)))
    (finished,) = plan.runs
    ids = []
    for data in (TINY_TEXT, TOKENS):
        model = drawn(RNN(width=6), data)
        (made,) = planned(model.run).runs
        record = store.record(finished.run_id) | {"run_id": made.run_id}
        del record["seal"]
        add_record(store, record | {"spec": made.run.to_dict()})
        trained = dataclasses.replace(model, run=made.run)
        content = tensor_bytes(made.run, trained.params)
        publish_weights(store, made.run_id, made.run.to_dict(), content)
        ids.append(made.run_id)
    return store, [*ids, finished.run_id]


def test_text_goes_on_from_a_prompt(harness, store):
    folder, (text, ids, _) = store[0].folder, store[1]
    code, out, err = harness("sample", folder, text, "It is a", "--tokens", 30)
    assert (code, err) == (0, "")
    trained = load_trained(folder, text)
    assert out == "It is a" + trained.sample("It is a", 30) + "\n"
    options = ("--temperature", 0.5, "--top-k", 3, "--seed", 4, "--tokens", 9)
    _, out, _ = harness("sample", folder, ids[:10], "3 1 4", *options)
    drawn = load_trained(folder, ids).sample([3, 1, 4], 9, 0.5, 3, 4)
    assert out.split() == [str(i) for i in [3, 1, 4, *drawn]]


def test_each_form_is_written_and_read_again(harness, store, tmp_path, monkeypatch):
    folder, run_id = store[0].folder, store[1][1]
    trained = load_trained(folder, run_id)
    inputs = inputs_of(trained, 3)
    outputs = np.asarray(trained.apply(inputs))
    monkeypatch.chdir(tmp_path)
    code, out, _ = harness("export", folder, run_id[:12], "--to", "safetensors")
    path = tmp_path / f"{run_id}.safetensors"
    assert code == 0 and out.startswith(f"{path.name}: {path.stat().st_size:,} bytes")
    np.testing.assert_array_equal(Trained.load(path).apply(inputs), outputs)
    place = tmp_path / "sub" / "model"
    to = ("--to", "stablehlo", "--out", place)
    code, out, _ = harness("export", folder, run_id, *to)
    assert code == 0 and out == f"{place}: {place.stat().st_size:,} bytes\n"
    program = jax.export.deserialize(bytearray(place.read_bytes()))
    np.testing.assert_allclose(program.call(inputs), outputs, atol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime")
    assert harness("export", folder, run_id, "--to", "onnx")[0] == 0
    session = onnxruntime.InferenceSession(f"{run_id}.onnx")
    (given,) = session.run(["outputs"], {"inputs": inputs})
    np.testing.assert_allclose(given, outputs, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "TEXT", ""), "the prompt is empty"),
        (("sample", "TEXT", "a", "--tokens", "0"), "tokens is 0"),
        (("sample", "IDS", "the"), "give token ids, such as '3 1 4'"),
        (("sample", "IDS", "3 true"), "give token ids, such as '3 1 4'"),
        (("sample", "IDS", "99"), "token id 99 is not in the vocabulary"),
        (("sample", "REALS", "1"), "keeps no weights of run"),
        (("sample", "nothing", "a"), "no finished run of"),
        (("export", "TEXT", "--to", "onnx", "--out", "."), ". is a folder"),
        (("export", "TEXT", "--to", "onnx", "--experiment", "no.py"), "no.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_are_one_line_and_write_nothing(
    harness, store, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    folder, names = (
        store[0].folder,
        dict(zip(("TEXT", "IDS", "REALS"), store[1], strict=True)),
    )
    command, run, *rest = arguments
    code, out, err = harness(command, folder, names.get(run, run), *rest)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_store_is_refused(harness, tmp_path):
    code, _, err = harness("export", tmp_path, "abc", "--to", "onnx")
    assert code == 2 and "is not a results folder" in err
