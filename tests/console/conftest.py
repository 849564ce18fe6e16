from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from console.console_desk import ROOT, Desk, desk_environment

from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A desk whose environment is this process's too while the test runs."""
    folder, home = tmp_path / "desk", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    env = desk_environment(home)
    for name in os.environ:
        if name.startswith(("SMS_RUNNER_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    with Desk(folder=folder, capture=capsys, env=env | {"PYTHONPATH": str(ROOT)}) as made:
        yield made
    structlog.reset_defaults()


@pytest.fixture
def sandbox(desk: Desk) -> Iterator[SandboxThread]:
    """The org's API, without latency; the desk is configured for it."""
    thread = SandboxThread(SandboxOptions(latency_s=0, late_s=0.01))
    with thread as url:
        desk.configure(url)
        yield thread
