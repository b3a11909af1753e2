"""The base of the parts that are computed inside a compiled step."""

from __future__ import annotations

import functools
from typing import get_type_hints

from harness.specs.base import Spec


class Part(Spec):
    """A part whose implementation runs in a compiled step.

    Its fields of type `float` are traced: no value of theirs is a reason to compile
    again, and runs that differ in nothing else share a program. All other fields are
    fixed in the program.
    """

    __slots__ = ()

    def traced(self) -> dict[str, float]:
        """The values that enter a compiled step as arguments, by field."""
        return {name: getattr(self, name) for name in self._floats()}

    def fixed(self) -> dict[str, object]:
        """The values that a compiled step is made for, by field."""
        floats = self._floats()
        names = self.__dataclass_fields__
        return {name: getattr(self, name) for name in names if name not in floats}

    def _floats(self) -> frozenset[str]:
        return _floats(type(self))  # type: ignore[arg-type]

    def program_key(self) -> tuple[object, ...]:
        """Equal for parts that one compiled step can serve."""
        return (type(self), *self.fixed().values())


@functools.cache
def _floats(cls: type[Part]) -> frozenset[str]:
    hints = get_type_hints(cls)
    return frozenset(n for n in cls.__dataclass_fields__ if hints[n] is float)
