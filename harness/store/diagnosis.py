"""What `harness doctor` has found, and what it did about it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not as it must be, and what was done about it."""

    file: str
    wrong: str
    done: str


@dataclasses.dataclass(kw_only=True, slots=True)
class Diagnosis:
    """The damage of a store, and what was done about it."""

    format: int | None = None
    """Version of the store's layout; None if its marker does not say."""
    files: int = 0
    ailments: list[Damage] = dataclasses.field(default_factory=list)
    reopened: list[str] = dataclasses.field(default_factory=list)
    """Runs that will be trained again."""
    unknown: list[str] = dataclasses.field(default_factory=list)
    """Families and data sources whose specs were not checked: no code here has them."""
    leftovers: int = 0
    """Files and folders of writes and packings that were cut off, or are under way."""

    @property
    def summary(self) -> str:
        """The diagnosis in one line."""
        note = "".join(
            f"; {x} is not known here; its specs are not checked" for x in self.unknown
        )
        if self.leftovers:
            noun = "file" if self.leftovers == 1 else "files"
            note += (
                f"; {self.leftovers} {noun} of writes cut off or under way, harmless"
            )
        name = "format unknown" if self.format is None else f"format {self.format}"
        if not self.ailments:
            return f"{name}, {self.files} files, all sound{note}"
        again = len(self.reopened)
        return (
            f"{name}, {self.files} files, {len(self.ailments)} not sound; "
            + (
                f"{again} runs are open again: `harness run` trains them"
                if again
                else "no run is lost"
            )
            + note
        )
