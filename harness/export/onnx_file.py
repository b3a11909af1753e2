"""ONNX: a model as a graph of standard operations, for onnxruntime and others."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import jax

from harness.errors import SpecError
from harness.export.plain import Exported, facts, for_any_batch, function_of
from harness.export.trained import Trained

OPSET = 21
"""Version of the operations; onnxruntime 1.20 and later have them."""
LARGEST = 2**31
"""Bytes of a protocol buffer, which an ONNX file is, lie below this."""


def onnx(trained: Trained) -> Exported[bytes]:
    """The file's content: graph and weights, `inputs` (B, …) to float32 `outputs`.

    Raises `SpecError` if the model has an operation that ONNX or its exporter lacks.
    """
    size = 4 * sum(leaf.size for leaf in jax.tree.leaves(trained.params))
    if size >= LARGEST:
        raise SpecError(
            f"{size:,} bytes of weights are more than an ONNX file holds (2 GiB); "
            "export to stablehlo or safetensors"
        )
    jax2onnx, function = _exporter(), function_of(trained)

    def convert(inputs: jax.ShapeDtypeStruct) -> Any:
        return jax2onnx.to_onnx(
            lambda x: function(x),
            [inputs],
            model_name=f"run {trained.run.run_id}",
            opset=OPSET,
            input_names=["inputs"],
            output_names=["outputs"],
        )

    try:
        with _quiet():
            exported = for_any_batch(trained, convert)
    except NotImplementedError as error:
        raise SpecError(
            f"{trained.run.model.family} has an operation that cannot be written as "
            f"ONNX ({' '.join(str(error).split())}); export to stablehlo"
        ) from error
    graph = exported.program
    for key, value in facts(trained).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    return Exported(program=graph.SerializeToString(), batch=exported.batch)


def _exporter() -> ModuleType:
    try:
        return import_module("jax2onnx")
    except ImportError as error:
        raise SpecError(
            f"ONNX files need jax2onnx ({error}): pip install 'scaling-harness[export]'"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A context without the exporter's notes on its own progress."""
    loggers = [logging.getLogger(name) for name in (None, "jax2onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
