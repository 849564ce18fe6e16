"""Worlds, one after the other, and what a broken promise looks like to whoever has to find out why."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import structlog
from simulation.diary import Figures
from simulation.oddities import Oddities, Sabotage
from simulation.world import World
from virtual_time import StandstillError, run_virtually

from runner.ledger.store import Ledger

SEEDS_PER_LEDGER: Final = 100
LONGEST_WORLD_S: Final = 10_000_000.0


class BrokenPromiseError(AssertionError):
    """Something happened that the runner promises will never happen; says which seed, and what led to it."""


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Nothing is logged in this block: a simulation meets every warning there is thousands of times."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextlib.contextmanager
def folder_for_a_ledger() -> Iterator[Path]:
    """A folder for as long as the block lasts, in memory where there is such a place: a disk's speed tells nothing."""
    memory = Path("/dev/shm")  # noqa: S108 - only a folder of our own, with a random name, is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class Simulator:
    """Lives through one seed after the other. Used as a context manager.

    Making a ledger costs more than a seed, so many seeds share one; their jobs have nothing to do with each other.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._look.close()
        self._ledger.close()

    def simulate(self, seed: int, *, sabotage: Sabotage | None = None, oddities: Oddities | None = None) -> Figures:
        """Live through one seed; in the world that is given, if there is one, instead of the seed's own.

        Raises:
            BrokenPromiseError: and how to see it again.
        """
        self._number += 1
        if self._number % SEEDS_PER_LEDGER == 0:
            self.__exit__()
            self._open()
        world = World(
            seed,
            ledger=self._ledger,
            look=self._look,
            prefix=f"{self._number}-{seed}",
            sabotage=sabotage,
            oddities=oddities,
        )
        diary = world.diary
        with quiet_logs():
            try:
                run_virtually(world.live, longest_s=LONGEST_WORLD_S)
            except StandstillError as error:
                diary.broken(f"everything stands still: {error}")
        if diary.breaks:
            what = f"seed {seed}: {diary.breaks[0]}"
            replay = f"to see it again: SIM_SEED={seed} pytest tests/simulation -k replay"
            raise BrokenPromiseError("\n".join((what, str(world.oddities), *diary.trace, what, replay)))
        return diary.figures

    def _open(self) -> None:
        path = self._folder / f"simulated-{self._number}.ledger.db"
        self._ledger = Ledger.open(path, org="simulated")
        self._look = sqlite3.connect(path)
