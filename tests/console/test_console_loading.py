"""How commands load their modules: the collector rests meanwhile, and is as it was afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runner.console.loading import loading

MANY = 100_000


@pytest.fixture
def collections() -> Iterator[list[str]]:
    """A mark for each collection that begins."""
    begun: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            begun.append(phase)

    gc.callbacks.append(note)
    yield begun
    gc.callbacks.remove(note)


def test_nothing_is_collected_while_modules_are_loaded(collections: list[str]) -> None:
    with loading():
        kept = [[number] for number in range(MANY)]
        assert collections == []
    assert gc.isenabled()
    kept += [[number] for number in range(MANY)]
    assert collections


def test_the_collector_is_as_it_was_also_when_a_module_cannot_be_loaded() -> None:
    with pytest.raises(ImportError), loading():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - that is the test
    assert gc.isenabled()
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_without_a_new_module_nothing_is_set_aside() -> None:
    """Else each command in one process would keep the garbage of those before it for ever."""
    before = gc.get_freeze_count()
    with loading():
        import json  # noqa: F401, PLC0415 - loaded long ago
    assert gc.get_freeze_count() == before


def test_later_collections_do_not_look_at_what_was_loaded() -> None:
    code = (
        "import gc\n"
        "from runner.console.loading import loading\n"
        "with loading():\n"
        "    import runner.console.sending\n"
        "assert gc.get_freeze_count() > 100_000, gc.get_freeze_count()\n"
        "assert gc.isenabled()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_numpy_starts_no_threads() -> None:
    assert _numpy_loaded(environment={}) == ["1", "1", "None"]


def test_numpys_threads_are_as_many_as_the_environment_says() -> None:
    assert _numpy_loaded(environment={"OPENBLAS_NUM_THREADS": "2"})[1:] == ["2", "2"]


def _numpy_loaded(*, environment: dict[str, str]) -> list[str]:
    """Threads of a process that has loaded it, and what the environment said of them meanwhile and afterwards."""
    code = (
        "import os\n"
        "from runner.console.loading import loading\n"
        "said = lambda: os.environ.get('OPENBLAS_NUM_THREADS')\n"
        "with loading():\n"
        "    import numpy\n"
        "    meanwhile = said()\n"
        "print(len(os.listdir('/proc/self/task')), meanwhile, said())\n"
    )
    without = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    run = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=without | environment
    )
    return run.stdout.split()
