"""Whole numbers of a file's rows, too many to be counted in memory: kept in a temporary file, counted at the end.

Eight bytes a number. They are counted in several passes, each over the numbers of one share: which share a number
belongs to is spread evenly by its bits, so equal numbers meet in the same pass, and the memory of a pass stays the same
however long the file is.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # imported where it is used: most commands of the ledger count nothing
    import numpy as np
    import numpy.typing as npt

_NUMBERS_PER_PASS: Final = 250_000
_NUMBERS_PER_READ: Final = 100_000
_WIDTH: Final = 8
_SPREAD: Final = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, odd: neighbouring numbers fall far apart


class Numbers:
    """Whole numbers of 64 bits with a sign. Their temporary file ends with the object, or with the process."""

    def __init__(self, *, most: int, per_pass: int = _NUMBERS_PER_PASS) -> None:
        self._most = most
        self._per_pass = per_pass
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when nobody holds this object any more
        weakref.finalize(self, self._file.close)
        self._count = 0
        self._counted: tuple[int, list[tuple[int, int]]] | None = None

    def add(self, values: Sequence[Any]) -> None:
        """Takes in numbers. Raises `OSError` where the disk has no room for them."""
        import numpy as np  # noqa: PLC0415 - see above

        self._file.seek(0, os.SEEK_END)
        self._file.write(np.asarray(values, np.int64).tobytes())
        self._count += len(values)
        self._counted = None

    @property
    def distinct(self) -> int:
        """How many distinct numbers there are."""
        return self._all_counted()[0]

    @property
    def top(self) -> list[tuple[int, int]]:
        """The most frequent numbers, at most `most`, and how often each occurs; equally frequent ones by size."""
        return self._all_counted()[1]

    def _all_counted(self) -> tuple[int, list[tuple[int, int]]]:
        if self._counted is None:
            self._counted = self._count_all()
        return self._counted

    def _count_all(self) -> tuple[int, list[tuple[int, int]]]:
        import numpy as np  # noqa: PLC0415 - see above

        distinct = 0
        top: list[tuple[int, int]] = []
        passes = -(-self._count // self._per_pass)
        for share in range(passes):
            values, counts = np.unique(self._share(share, passes), return_counts=True)
            distinct += len(values)
            # Stable, so that of equally frequent numbers the smaller ones are kept.
            best = np.argsort(-counts, kind="stable")[: self._most]
            top += zip(values[best].tolist(), counts[best].tolist(), strict=True)
        return distinct, sorted(top, key=lambda found: (-found[1], found[0]))[: self._most]

    def _share(self, share: int, shares: int) -> npt.NDArray[np.int64]:
        import numpy as np  # noqa: PLC0415 - see above

        if shares == 1:
            return np.concatenate(list(self._read()))
        spread = np.uint64(_SPREAD)
        found = []
        for values in self._read():
            # The upper half of the product: the lower bits of a product only depend on the lower bits of the number.
            places = (values.view(np.uint64) * spread) >> np.uint64(32)
            found.append(values[places % np.uint64(shares) == share])
        return np.concatenate(found)

    def _read(self) -> Iterator[npt.NDArray[np.int64]]:
        import numpy as np  # noqa: PLC0415 - see above

        self._file.seek(0)
        while block := self._file.read(_NUMBERS_PER_READ * _WIDTH):
            yield np.frombuffer(block, np.int64)
