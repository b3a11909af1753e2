"""Devices found without jax: CUDA's lists in all their forms, MIG, ROCm, TPU hosts."""

import pytest

from harness.engines import accelerators as found
from harness.engines import local
from harness.engines.accelerators import Accelerators, accelerators, listed, visible
from harness.engines.base import Slot
from harness.engines.local import slots
from harness.errors import SpecError

TWO_GPUS = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22222222-bbbb)
"""
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-c1)
  MIG 3g.20gb     Device  1: (UUID: MIG-c2)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-bbbb)
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of jax's plugins, and an `nvidia-smi` that prints what it is told."""
    for name in (
        "JAX_PLATFORMS",
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        *local.MEMORY_VARIABLES,
    ):
        monkeypatch.delenv(name, raising=False)

    def has(plugins, listing=None):
        monkeypatch.setattr(found, "_installed", lambda names: set(plugins) & {*names})
        monkeypatch.setattr(found, "ROCM_NODES", tmp_path / "nodes")
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        if listing is not None:
            tool = tmp_path / "nvidia-smi"
            tool.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
            tool.chmod(0o755)

    return has


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", ["0"]),
        (" 1 , 0 ", ["1", "0"]),
        ("00,1", ["0", "1"]),
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("0,7,1", ["0"]),
        ("7", []),
        ("0,0", []),
        ("GPU-11111111-aaaa,GPU-2222", ["GPU-11111111-aaaa", "GPU-2222"]),
        ("MIG-c1", ["MIG-c1"]),
        ("all", []),
    ],
)
def test_a_list_is_read_as_cuda_reads_it(value, names, machine, monkeypatch):
    assert visible(value, 2) == names
    machine(found.CUDA_PLUGINS, TWO_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    gpus = accelerators()
    assert (list(gpus.names) if gpus else []) == names


def test_all_gpus_are_found_by_the_drivers_tool(machine):
    machine(found.CUDA_PLUGINS, TWO_GPUS)
    assert accelerators() == Accelerators(
        variable="CUDA_VISIBLE_DEVICES", names=("0", "1")
    )


def test_no_tool_and_no_list_are_no_gpu_but_a_list_is_believed(machine, monkeypatch):
    machine(found.CUDA_PLUGINS)
    monkeypatch.setenv("PATH", "/nowhere")
    assert accelerators() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert accelerators().names == ("2", "5")


def test_each_mig_instance_is_a_place_of_its_own(machine, monkeypatch):
    assert listed(MIG) == [["MIG-c1", "MIG-c2"], ["1"]]
    machine(found.CUDA_PLUGINS, MIG)
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in slots(None, 99)] == [
        "MIG-c1",
        "MIG-c2",
        "1",
    ]
    with pytest.raises(SpecError, match="a process sees only one MIG instance"):
        slots(None, 99, devices=2)
    # A number in a list names the card, which is used through its instances.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert accelerators().names == ("MIG-c1", "MIG-c2")


def test_rocm_gpus_have_a_worker_each(machine, monkeypatch, tmp_path):
    machine(found.ROCM_PLUGINS)
    assert accelerators() is None
    for node, simd in enumerate((0, 256, 256, 256)):
        (tmp_path / "nodes" / str(node)).mkdir(parents=True)
        (tmp_path / "nodes" / str(node) / "properties").write_text(
            f"cpu_cores_count 0\nsimd_count {simd}\nmem_banks_count 1\n"
        )
    assert [s.environment for s in slots(None, 99)] == [
        {"HIP_VISIBLE_DEVICES": str(k)} for k in range(3)
    ]
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "0,2")
    assert accelerators().names == ("0", "1")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert accelerators().names == ("1",)


def test_a_tpu_host_has_one_worker(machine, monkeypatch, tmp_path):
    machine(["libtpu"])
    (tmp_path / "accel0").touch()
    monkeypatch.setattr(found, "TPU_DEVICES", (str(tmp_path / "accel*"),))
    assert slots(None, 99) == [Slot()]
    with pytest.raises(SpecError, match="one process takes all TPU chips"):
        slots(2, 99)
    monkeypatch.setattr(found, "TPU_DEVICES", (str(tmp_path / "vfio*"),))
    assert all(slot.cores for slot in slots(None, 99))


@pytest.mark.parametrize("variable", local.MEMORY_VARIABLES)
def test_what_the_user_says_of_gpu_memory_stays(variable, machine, monkeypatch):
    machine(found.CUDA_PLUGINS, TWO_GPUS)
    monkeypatch.setenv(variable, "0.2")
    shared = slots(4, 99)
    assert [{*s.environment} for s in shared] == [{"CUDA_VISIBLE_DEVICES"}] * 4


def test_gpus_are_not_looked_for_where_jax_uses_none(machine, monkeypatch):
    machine([*found.CUDA_PLUGINS, "libtpu"], TWO_GPUS)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert accelerators() is None and not found.has_tpu()
