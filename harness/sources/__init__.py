"""Data sources: what each shows to a model and which options it has (no numpy here).

A source is a `DataSpec`; `harness.data` reads or draws it.
"""

from harness.sources.images import Images
from harness.sources.synthetic import (
    ManifoldTeacher,
    PowerLawFeatures,
    SparseParity,
    TwoMoons,
    ZipfMarkov,
)
from harness.sources.tables import Table
from harness.sources.teacher import TeacherStudent
from harness.sources.text import Text

__all__ = [
    "Images",
    "ManifoldTeacher",
    "PowerLawFeatures",
    "SparseParity",
    "Table",
    "TeacherStudent",
    "Text",
    "TwoMoons",
    "ZipfMarkov",
]
