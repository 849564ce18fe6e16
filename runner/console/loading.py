"""How a command loads its modules: with the collector of cyclic garbage at rest.

Importing pandas, SQLAlchemy and aiohttp makes a quarter of a million objects that live as long as the process. The
collector would walk over all that is there again and again while it grows, which is a seventh of the time a command
takes to start; and later, while jobs are sent, walk over them once more with every full collection.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import in this block: no collection takes place, and none later looks at what was made here.

    Afterwards the collector is as it was before, also when an import fails.
    """
    known = len(sys.modules)
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        if len(sys.modules) > known:  # else there is nothing of modules to set aside, only what others left lying about
            gc.freeze()
    finally:
        if was_on:
            gc.enable()
