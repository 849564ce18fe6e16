"""`DataFrame.to_csv` and `to_parquet` of a frame that is in memory already; only the writing is timed.

python -m benchmarks.peers.write_frame results.parquet csv out.csv
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd


def main(source: str, kind: str, target: str) -> None:
    """Read the frame, write it, print the seconds that writing took: by the clock, and of processor time."""
    frame = pd.read_parquet(source)
    began, began_cpu = time.perf_counter(), time.process_time()
    if kind == "csv":
        frame.to_csv(target, index=False)
    else:
        frame.to_parquet(target, index=False)
    sys.stdout.write(f"{time.perf_counter() - began} {time.process_time() - began_cpu} {Path(target).stat().st_size}\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
