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

    files: int = 0
    ailments: list[Damage] = dataclasses.field(default_factory=list)
    reopened: list[str] = dataclasses.field(default_factory=list)
    """Runs that will be trained again."""
    unknown: list[str] = dataclasses.field(default_factory=list)
    """Families and data sources whose specs were not checked: no code here has them."""
    leftovers: int = 0
    """Hidden files and folders of writes that were cut off, or are under way."""

    @property
    def summary(self) -> str:
        """The diagnosis in one line."""
        note = "".join(
            f"; {x} is not known here; its specs are not checked" for x in self.unknown
        )
        if self.leftovers:
            noun = "write" if self.leftovers == 1 else "writes"
            note += f"; {self.leftovers} hidden {noun} cut off or under way, harmless"
        if not self.ailments:
            return f"{self.files} files, all sound{note}"
        again = len(self.reopened)
        return (
            f"{self.files} files, {len(self.ailments)} not sound; "
            + (
                f"{again} runs are open again: `harness run` trains them"
                if again
                else "no run is lost"
            )
            + note
        )
