"""What the numbers were measured on: enough to judge them, nothing that names the machine or its owner."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = (
    "acoustic-sms-runner",
    "aiohttp",
    "uvloop",
    "anyio",
    "orjson",
    "pandas",
    "pyarrow",
    "SQLAlchemy",
    "typer",
)


def facts(tools: Path) -> dict[str, Any]:
    """Processor, system, versions and date."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "peers": {
            "wrk": _said("wrk", "-v"),
            "parallel": _said("parallel", "--version"),
            "curl": _said("curl", "--version"),
            "node": _said("node", "--version"),
            "newman": _said(str(tools / "node_modules" / ".bin" / "newman"), "--version"),
        },
    }


def load() -> float:
    """How many processes wanted to run in the last minute, on average: other people's work shows here."""
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(*command: str) -> str | None:
    """The first words of what a program says of its version."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 - fixed words
    except OSError:
        return None
    first = (said.stdout or said.stderr).splitlines()
    return " ".join(first[0].split()[:3]) if first else None
