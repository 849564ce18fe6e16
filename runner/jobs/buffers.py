"""Text columns as numpy sees them: the bytes of an Arrow string array, without making a Python string of each cell.

A rule that looks at bytes (is every one a digit, does one of them stand here) costs nanoseconds per row this way,
which is what lets a million rows be checked in the time it takes to read them.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Arrow: TypeAlias = Any
"""An Arrow array or type: pyarrow declares no types of its own."""

TEXT: Final[Arrow] = pa.string()
"""The Arrow type of every column of text in this room."""

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def content(array: Arrow) -> tuple[Bytes, npt.NDArray[np.int32]]:
    """The bytes of all cells of a string array without nulls, and where each begins (one more entry than cells)."""
    _, offsets, data = array.buffers()
    if offsets is None or len(array) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int32)
    begins = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    if data is None:
        return np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int32)
    return np.frombuffer(data, np.uint8)[begins[0] : begins[-1]], begins - begins[0]


def sizes(array: Arrow) -> npt.NDArray[np.int32]:
    """Bytes in each cell."""
    return np.diff(content(array)[1])


def grid(array: Arrow, width: int) -> tuple[Ints, Bytes]:
    """The cells of exactly `width` bytes: their places in the array, and their bytes as one row each."""
    fitting = sizes(array) == width
    cells = array if fitting.all() else array.filter(pa.array(fitting))
    return np.flatnonzero(fitting), content(cells)[0].reshape(-1, width)


def has_byte(array: Arrow, byte: int) -> bool:
    """Whether any cell holds the byte."""
    return content(array)[0].tobytes().find(byte) >= 0


def to_objects(array: Arrow) -> npt.NDArray[np.object_]:
    """The cells as Python strings, in an array that can be indexed by place."""
    objects: npt.NDArray[np.object_] = array.to_numpy(zero_copy_only=False)
    return objects


def characters(array: Arrow) -> npt.NDArray[np.int32]:
    """Characters (code points) in each cell."""
    counts: npt.NDArray[np.int32] = pc.utf8_length(array).to_numpy(zero_copy_only=False)
    return counts
