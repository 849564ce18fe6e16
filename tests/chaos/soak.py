"""Kills and bad weather for as long as you like: ``python tests/chaos/soak.py --seconds 600 --kills 200 --rows 2000``.

Storm after storm, each with the next seed and the next weather, until the time is over and the kills are done. Ends
with 1 at the first broken promise, and says which storm it was; with 0 otherwise. Prints its figures in either case.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it finds its neighbours by this

from chaos.chaos_ground import Ground
from chaos.chaos_storm import WEATHER, Storm, through_a_storm

KILLS_IN_A_STORM = 20


def main() -> int:
    """Go from storm to storm until the time is over, or a promise is broken."""
    given = _arguments()
    until = time.monotonic() + given.seconds
    storms: list[Storm] = []
    failure = ""
    for seed, weather in zip(itertools.count(given.seed), itertools.cycle(WEATHER), strict=False):
        left = given.kills - sum(storm.kills for storm in storms)
        kills = KILLS_IN_A_STORM if given.kills == 0 else min(KILLS_IN_A_STORM, left)
        try:
            storm = _storm(weather, rows=given.rows, kills=kills, seed=seed)
        except (AssertionError, TimeoutError) as fault:
            failure = f"seed {seed}, {weather}: {fault}"
            break
        storms.append(storm)
        print(f"seed {seed}, {weather}: {storm}", flush=True)  # noqa: T201 - it is a command
        if storm.broken:
            failure = f"seed {seed}, {weather}: {'; '.join(storm.broken)}"
            break
        if (time.monotonic() >= until) if given.kills == 0 else (left <= kills):
            break
    print(_figures(storms))  # noqa: T201
    print(f"BROKEN: {failure}" if failure else "Every promise was kept.")  # noqa: T201
    return 1 if failure else 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default 60)")
    arguments.add_argument("--kills", type=int, default=0, help="go on until so many kills instead; 0: by --seconds")
    arguments.add_argument("--rows", type=int, default=500, help="rows of each storm's file (default 500)")
    arguments.add_argument("--seed", type=int, default=1, help="the first storm's seed (default 1)")
    given = arguments.parse_args()
    if given.kills < 0 or given.rows < 1:
        arguments.error("--kills is 0 or more, --rows 1 or more")
    return given


def _storm(weather: str, *, rows: int, kills: int, seed: int) -> Storm:
    with tempfile.TemporaryDirectory(prefix="sms-runner-soak-") as place:
        folder, home = Path(place) / "desk", Path(place) / "home"
        folder.mkdir()
        home.mkdir()
        ground = Ground(folder=folder, home=home)
        try:
            return through_a_storm(ground, weather=weather, rows=rows, kills=kills, seed=seed)
        finally:
            ground.close()


def _figures(storms: list[Storm]) -> str:
    sums = {
        name: sum(getattr(storm, name) for storm in storms)
        for name in ("rows", "runs", "kills", "requests", "faults", "refused")
    }
    figures = ", ".join(f"{number:,} {name}" for name, number in sums.items())
    most = max((storm.most_at_once for storm in storms), default=0)
    return f"{len(storms)} storms: {figures}; at most {most} at once"


if __name__ == "__main__":
    sys.exit(main())
