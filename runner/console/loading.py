"""How a command loads its modules: with the collector of cyclic garbage at rest, and without numpy's threads.

Importing pandas, SQLAlchemy and aiohttp makes a quarter of a million objects that live as long as the process. The
collector would walk over all that is there again and again while it grows, which is a seventh of the time a command
takes to start; and later, while jobs are sent, walk over them once more with every full collection.

numpy, which pandas brings along, starts a thread per core to multiply matrices. There are none here, but each of the
threads begins by spinning for a tenth of a second, on the core that something else could be loaded on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Final

_THREADS_OF_NUMPY: Final = "OPENBLAS_NUM_THREADS"


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import in this block: no collection takes place, and none later looks at what was made here.

    Afterwards the collector and the environment are as they were before, also when an import fails.
    """
    known = len(sys.modules)
    was_on = gc.isenabled()
    gc.disable()
    one_thread = _THREADS_OF_NUMPY not in os.environ  # else whoever set it knows why
    if one_thread:
        os.environ[_THREADS_OF_NUMPY] = "1"
    try:
        yield
        if len(sys.modules) > known:  # else there is nothing of modules to set aside, only what others left lying about
            gc.freeze()
    finally:
        if one_thread:
            del os.environ[_THREADS_OF_NUMPY]
        if was_on:
            gc.enable()
