"""The files that commands write besides results: where they may go, and the file of problems."""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Final, Self

from runner.errors import OutputError
from runner.model import Problem

PROBLEM_COLUMNS: Final = ("row", "column", "value", "rule", "remedy", "code", "scenario")


def refuse_to_replace(file: Path, out: Path | None) -> None:
    """See that what is to be written to `out` would not take the place of the job file.

    Raises:
        OutputError: it would.
    """
    if out is not None and out.resolve() == file.resolve():
        raise OutputError(f"{out} is the job file itself and would be lost.", remedy="Name another file to write to.")


class ProblemsFile:
    """Writes every problem as a line of CSV; whole or absent, like all results."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._lines = csv.DictWriter(file, PROBLEM_COLUMNS) if file is not None else None
        self.restart()

    @classmethod
    @contextlib.contextmanager
    def writing(cls, path: Path | None) -> Iterator[Self]:
        """A sink that ends up at `path`, also when the block is left by an error of ours; None: nowhere.

        Raises:
            OutputError: the file cannot be written.
        """
        if path is None:
            yield cls(None)
            return
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
        except OSError as error:
            raise OutputError(
                f"The problems cannot be written to {path}: {error.strerror}.", remedy="Name another by --problems."
            ) from None
        temporary = Path(name)
        try:
            with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:  # noqa: PTH123 - an open descriptor
                sink = cls(file)
                try:
                    yield sink
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"The problems cannot be written to {path}: {error.strerror}.") from None
        except KeyboardInterrupt:
            temporary.unlink(missing_ok=True)
            raise
        except BaseException:
            temporary.replace(path)  # refused for these very problems
            raise
        temporary.replace(path)

    def write(self, problem: Problem) -> None:
        """Add one problem."""
        if self._lines is not None:
            self._lines.writerow(asdict(problem))

    def restart(self) -> None:
        """Forget what was written: the file is being checked anew."""
        if self._file is not None and self._lines is not None:
            self._file.seek(0)
            self._file.truncate()
            self._lines.writeheader()
