"""64-bit fingerprints: made of texts and numbers by the column, and collected in bounded memory.

Ten million of them are 80 MB, which is more than checking a file may take. So beyond a million they are sorted and
put into a temporary file, each sorted run cut into shares by value; afterwards the same share of all runs fits into
memory, and what occurs twice stands side by side in it.
"""

from __future__ import annotations

import tempfile
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

Prints = npt.NDArray[np.uint64]

_SHARES: Final = 64


class Fingerprints:
    """Collects fingerprints in bounded memory and tells which occur more than once."""

    def __init__(self, *, kept: int = 2**20) -> None:
        self._kept = kept
        self._waiting: list[Prints] = []
        self._count = 0
        self._twice: list[Prints] = []
        self._file: IO[bytes] | None = None
        self._runs: list[list[int]] = []
        """For each run in the file the places where its shares begin, and its end."""

    def add(self, prints: Prints) -> None:
        """Takes in the fingerprints of some rows; raises `OSError` where the temporary file cannot be written."""
        self._waiting.append(prints)
        self._count += len(prints)
        if self._count >= self._kept:
            self._put_away()

    def twice(self) -> Prints:
        """The fingerprints that occur more than once, sorted."""
        if self._file is None:
            return self._merged([_twice(np.sort(np.concatenate(self._waiting)))] if self._waiting else [])
        self._put_away()
        for share in range(_SHARES):
            parts = [self._read(self._file, run[share], run[share + 1]) for run in self._runs]
            self._twice.append(_twice(np.sort(np.concatenate(parts))))
        return self._merged(self._twice)

    def close(self) -> None:
        """Frees the temporary file."""
        if self._file is not None:
            self._file.close()

    @staticmethod
    def _merged(parts: list[Prints]) -> Prints:
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)

    def _put_away(self) -> None:
        if not self._count:
            return
        prints = np.sort(np.concatenate(self._waiting))
        self._waiting, self._count = [], 0
        again = prints[1:] == prints[:-1]
        if again.any():
            # What repeats within the run is noted here, so that no share can fill up with one fingerprint.
            self._twice.append(_twice(prints))
            prints = prints[np.concatenate(([True], ~again))]
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        start = self._file.seek(0, 2) // prints.itemsize
        self._file.write(prints.data)
        edges = np.arange(_SHARES, dtype=np.uint64) * np.uint64(2**64 // _SHARES)
        self._runs.append([*(np.searchsorted(prints, edges) + start).tolist(), start + len(prints)])

    @staticmethod
    def _read(file: IO[bytes], start: int, end: int) -> Prints:
        file.seek(start * 8)
        return np.frombuffer(file.read((end - start) * 8), np.uint64)


def _twice(prints: Prints) -> Prints:
    """Of sorted fingerprints those that occur more than once."""
    return np.unique(prints[1:][prints[1:] == prints[:-1]])


def text_prints(words: npt.NDArray[np.object_], key: str) -> Prints:
    """A fingerprint of each text (SipHash); `key` has 16 characters."""
    prints: Prints = pd.util.hash_array(words, hash_key=key, categorize=False)
    return prints


def scattered(prints: Prints) -> Prints:
    """Mixes 64 bits well (the finishing step of SplitMix64; it is one to one)."""
    prints = (prints ^ (prints >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    prints = (prints ^ (prints >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return prints ^ (prints >> np.uint64(31))
