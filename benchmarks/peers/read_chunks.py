"""`pandas.read_csv` in the runner's chunks, as text, and nothing done with the rows.

Text, because that is what a check of ids and names must start from; the parser's own guessing of types is neither
wanted nor cheaper.

    python -m benchmarks.peers.read_chunks jobs.csv 65536
"""

from __future__ import annotations

import sys

import pandas as pd


def main(path: str, chunk_rows: int) -> None:
    """Read the file; print the number of rows."""
    rows = 0
    with pd.read_csv(path, chunksize=chunk_rows, dtype=str, keep_default_na=False) as chunks:
        for chunk in chunks:
            rows += len(chunk)
    sys.stdout.write(f"{rows}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
