"""Thousands of runs in virtual time: kills, lost answers, full disks, edited files, and the promises after each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from simulation.diary import Figures
from simulation.oddities import Fault, NameCheck, Oddities, Sabotage, oddities_of
from simulation.simulator import BrokenPromiseError, Simulator, folder_for_a_ledger

from runner.batch.bookkeeper import MOST_IN_DOUBT
from runner.settings import MaxRejected, Sending

SEEDS = 2000
BLOCKS = 10
SEEDS_TO_NOTICE = 200
"""Each broken promise has to be found within this many seeds."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with folder_for_a_ledger() as folder, Simulator(folder) as simulator:
        yield simulator


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_promises_hold_whatever_happens(simulator: Simulator, block: int) -> None:
    """No job is sent twice or lost, never more than allowed are under way, and the books tell the truth."""
    figures = Figures()
    for seed in range(block, SEEDS, BLOCKS):
        figures.add(simulator.simulate(seed))
    print(figures)  # noqa: T201 - shown by `pytest -s`, and where the test fails
    assert figures.counts["crashes"] > SEEDS / BLOCKS / 10, "a simulation in which little goes wrong proves little"
    assert figures.counts["faults"] > SEEDS / BLOCKS


@pytest.mark.skipif("SIM_SEED" not in os.environ, reason="for a seed that failed: SIM_SEED=123")
def test_replay(simulator: Simulator) -> None:
    """The seed of SIM_SEED once more, for its trace."""
    simulator.simulate(int(os.environ["SIM_SEED"]))


@pytest.mark.parametrize("sabotage", Sabotage)
def test_the_simulation_notices_a_broken_promise(simulator: Simulator, sabotage: Sabotage) -> None:
    """Each promise, broken on purpose, is found broken within a few seeds: so the test above proves something."""
    with pytest.raises(BrokenPromiseError, match=_WHAT_IS_FOUND[sabotage]):
        _until_noticed(simulator, sabotage)


def _until_noticed(simulator: Simulator, sabotage: Sabotage) -> None:
    for seed in range(SEEDS_TO_NOTICE):
        simulator.simulate(seed, sabotage=sabotage)


_WHAT_IS_FOUND = {
    Sabotage.NO_SETTLE: "accepted twice",
    Sabotage.NO_SETTLE_AFTER_CRASH: "accepted twice",
    Sabotage.NO_LINGER: "under way at the server",
    Sabotage.SLOTS_FORGET_THE_DEAD: "under way at the server",
    Sabotage.CLAIM_NOT_DURABLE: "began while the ledger says pending",
    Sabotage.TIMEOUT_IS_FAILURE: "accepted twice|but was accepted|at work on it",
    Sabotage.DOUBT_FORGOTTEN: "but was accepted",
    Sabotage.RESULT_DROPPED: "in doubt for no reason",
    Sabotage.DEAF_TO_STOP: "began after the run was asked to stop",
}


def test_the_same_seed_is_the_same_world(simulator: Simulator) -> None:
    """Or a failing seed could not be looked at again."""
    for seed in range(5):
        first, second = simulator.simulate(seed), simulator.simulate(seed)
        assert (first.virtual_s, first.counts) == (second.virtual_s, second.counts)


def test_never_more_than_256_jobs_are_in_doubt(simulator: Simulator) -> None:
    """Even where no answer ever comes, and each run gives up each job after one try."""
    world = oddities_of(Random(0))  # noqa: S311 - a simulation's dice
    calm = replace(world, p_crash=0.0, p_signal=0.0, p_edit=0.0, p_retry=0.0, p_limit=0.0)
    figures = simulator.simulate(1, oddities=_nothing_comes_back(calm))
    assert figures.counts["most in doubt"] == MOST_IN_DOUBT
    assert figures.counts["ended: too_many_in_doubt"]


def _nothing_comes_back(world: Oddities) -> Oddities:
    return replace(
        world,
        jobs=MOST_IN_DOUBT + 100,
        sending=Sending(
            max_concurrent=10,
            timeout_seconds=1.0,
            settle_seconds=2.0,
            max_attempts=1,
            max_rejected=MaxRejected(percent=100),
        ),
        name_check=NameCheck.SPLIT,
        quickest_s=0.01,
        slowest_s=0.05,
        write_s=0.01,
        faults={Fault.NO_ANSWER: 1.0},
        p_disk_full=0.0,
        p_token_trouble=0.0,
        p_expiry=0.0,
        p_refused=0.0,
        p_taken=0.0,
        user_enabled=True,
        wild_runs=1,
    )
