"""Simulated runs for as long as you like: ``python tests/simulation/soak.py --seconds 600``.

Ends with 1 at the first broken promise, whose seed and trace it prints; with 0 when the time is over.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it finds its neighbours by this

from simulation.diary import Figures
from simulation.simulator import BrokenPromiseError, Simulator, folder_for_a_ledger


def main() -> int:
    """Simulate until the time is over or a promise is broken."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default 60)")
    arguments.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    arguments.add_argument("--only", action="store_true", help="only the first seed")
    given = arguments.parse_args()
    until = time.monotonic() + given.seconds
    figures = Figures()
    try:
        with folder_for_a_ledger() as folder, Simulator(folder) as simulator:
            for seed in itertools.count(given.seed):
                figures.add(simulator.simulate(seed))
                if given.only or time.monotonic() >= until:
                    break
    except BrokenPromiseError as broken:
        print(broken)  # noqa: T201 - it is a command
        print(figures)  # noqa: T201
        return 1
    print(figures)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
