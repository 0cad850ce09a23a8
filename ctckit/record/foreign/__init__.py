"""Histories that other programs wrote. Torch-free.

Each step says what it assumed: ``places`` finds the file and decodes it, ``shapes``, ``logs`` and ``events`` make
rows of it, ``columns`` recognises columns by their names and tells the unit of each from its own values, never from
another column's, ``epochs`` puts rows together.
"""

from ctckit.record.foreign.columns import figure_of
from ctckit.record.foreign.reading import read_any

__all__ = ["figure_of", "read_any"]
