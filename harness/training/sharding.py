"""The sharding of a program's arrays: on one device, or on a mesh of several.

A mesh is one row of devices. A single run's batch is spread over it, and its state too
once that is large: each device then holds a share of every large array, gathers whole
parameters for a pass, and keeps its share of the gradients (fully sharded data
parallel, Zhao et al. 2023). Of a population each device trains its own members. A
sharding changes a run's numbers by rounding (see `TrainOptions.accumulate` for the
exceptions).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from harness.errors import SpecError
from harness.families.arrays import PyTree
from harness.specs.count import training_bytes
from harness.specs.run import RunSpec
from harness.sweeps.options import TrainOptions
from harness.training import device

AXIS = "devices"
STATE_SHARE = 0.25
"""A state that would take more than this share of a device's free memory is spread."""
SMALL = 4096
"""Arrays of fewer elements stay whole on every device."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sharding:
    """The places of a program's arrays; on one device there is nothing to place."""

    mesh: Mesh | None = None
    members: bool = False
    """Whether the members of a population are spread, rather than a batch."""
    shard: bool = False
    accumulate: int = 1

    @property
    def devices(self) -> int:
        """The number of devices."""
        return self.mesh.size if self.mesh else 1

    @property
    def common(self) -> NamedSharding | None:
        """The sharding of arrays that every device holds whole."""
        return self._at(PartitionSpec())

    @property
    def per_member(self) -> NamedSharding | None:
        """The sharding of arrays that each member of a population has for itself."""
        return self._at(PartitionSpec(AXIS)) if self.members else self.common

    def for_state(self, tree: PyTree) -> PyTree:
        """The shardings of a state's arrays.

        Of a large one the longest axis that the devices divide is spread.
        """
        if not self.shard:
            return self.per_member
        return jax.tree.map(lambda leaf: self._at(self._parts(leaf.shape)), tree)

    def place(self, tree: PyTree, shardings: PyTree) -> PyTree:
        """The host's arrays on the devices."""
        return jax.device_put(tree, shardings if self.mesh else None)

    def jit(
        self,
        function: Callable[..., PyTree],
        takes: tuple[PyTree, ...],
        gives: PyTree,
        *,
        donate: bool = False,
    ) -> jax.stages.Wrapped:
        """`jax.jit`, with the shardings of arguments and results.

        With `donate` the first argument is used up.
        """
        donated = 0 if donate else ()
        if self.mesh is None:
            return jax.jit(function, donate_argnums=donated)
        if self.members:
            # Else the compiler might have devices exchange what they need not share.
            function = jax.shard_map(
                function,
                mesh=self.mesh,
                in_specs=jax.tree.map(lambda sharding: sharding.spec, takes),
                out_specs=jax.tree.map(lambda sharding: sharding.spec, gives),
                check_vma=False,
            )
        return jax.jit(
            function, in_shardings=takes, out_shardings=gives, donate_argnums=donated
        )

    def spread(self, x: jax.Array) -> jax.Array:
        """The array, its leading axis over the devices if they divide it; for jit."""
        if self.mesh is None or self.members or len(x) % self.devices:
            return x
        spread: jax.Array
        spread = jax.lax.with_sharding_constraint(x, self._at(PartitionSpec(AXIS)))
        return spread

    def gathered(self, params: PyTree) -> PyTree:
        """The parameters, whole on every device, for a pass; for jit."""
        if not self.shard:
            return params
        return jax.tree.map(
            lambda leaf: jax.lax.with_sharding_constraint(leaf, self.common), params
        )

    def scattered(self, gradients: PyTree) -> PyTree:
        """The gradients, on each device those of its share of the state; for jit."""
        if not self.shard:
            return gradients
        return jax.lax.with_sharding_constraint(gradients, self.for_state(gradients))

    def _parts(self, shape: tuple[int, ...]) -> PartitionSpec:
        even = [axis for axis, size in enumerate(shape) if size % self.devices == 0]
        if not even or math.prod(shape) < SMALL:
            return PartitionSpec()
        longest = max(even, key=lambda axis: shape[axis])
        return PartitionSpec(*[None] * longest, AXIS)

    def _at(self, spec: PartitionSpec) -> NamedSharding | None:
        return NamedSharding(self.mesh, spec) if self.mesh else None


ONE_DEVICE = Sharding()


def choose(options: TrainOptions, run: RunSpec, population: int) -> Sharding:
    """The sharding for so many runs like this one at once.

    A mesh has as many devices as divide the members, or the examples of a part of the
    batch. Raises `SpecError` if there are fewer devices than are wanted, or if the
    batch has no equal parts.
    """
    if run.batch % options.accumulate:
        raise SpecError(
            f"a batch of {run.batch} cannot be accumulated over {options.accumulate} "
            "equal parts"
        )
    available = jax.devices()
    if options.devices > len(available):
        raise SpecError(
            f"{options.devices} devices are wanted; jax sees {len(available)}"
        )
    members = population > 1
    whole = population if members else run.batch // options.accumulate
    count = next(k for k in range(options.devices, 0, -1) if whole % k == 0)
    if jax.process_count() > 1 and count < len(available):
        raise SpecError(
            f"{whole} examples cannot be divided over the {len(available)} devices of "
            "all hosts"
        )
    if count == 1:
        return Sharding(accumulate=options.accumulate)
    shard = _is_large(run) if options.shard is None else options.shard
    return Sharding(
        mesh=Mesh(np.array(available[:count]), (AXIS,)),
        members=members,
        shard=shard and not members,
        accumulate=options.accumulate,
    )


def _is_large(run: RunSpec) -> bool:
    free = device.free_memory()
    return free is not None and training_bytes(run) > STATE_SHARE * free
