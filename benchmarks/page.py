"""Results as people read them: the table on the terminal, and docs/performance.md with its picture.

The page is made from the JSON alone, so it can say nothing that was not measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.meanings import HOW, INTRODUCTION, MEANINGS
from benchmarks.picture import draw

_SAME: Final = ("cpu", "cores", "python", "packages")
_FINE: Final = 10
_COARSE: Final = 1000


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows for a terminal."""
    lines = [("", "name", "target", "reached", "from … to", "ours", "theirs")]
    lines += [
        (
            "ok" if row["met"] else "NOT",
            row["name"],
            _target(row),
            _value(row["reached"], row["unit"]),
            f"{_number(row['lowest'])} … {_number(row['highest'])}",
            _side(row["ours"]),
            _side(row["theirs"]),
        )
        for row in rows
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def publish(document: Mapping[str, Any], *, results: Path, docs: Path, order: Sequence[str]) -> None:
    """Add what was measured to the kept results, and make the page and the picture from them.

    Results of another processor, Python or package version are dropped: numbers stand beside each other here.
    """
    kept: dict[str, Any] = {}
    if results.exists():
        earlier = json.loads(results.read_text(encoding="utf-8"))
        if all(earlier["machine"].get(key) == document["machine"].get(key) for key in _SAME):
            kept = earlier["measurements"]
    both = kept | dict(document["measurements"])
    measurements = {name: both[name] for name in order if name in both}
    whole = {"machine": document["machine"], "measurements": measurements}
    results.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    points = measurements.get("growth", {}).get("points", [])
    if points:
        (docs / "performance.svg").write_text(draw(points), encoding="utf-8")
    (docs / "performance.md").write_text(as_page(whole), encoding="utf-8")


def as_page(document: Mapping[str, Any]) -> str:
    """The page's text."""
    measurements: Mapping[str, Any] = document["measurements"]
    rows = [row | {"date": body["date"]} for body in measurements.values() for row in body.get("rows", ())]
    parts = ["# Performance", INTRODUCTION, "## The table", *_markdown_table(rows)]
    missed = [row for row in rows if not row["met"]]
    met = f"{len(rows) - len(missed)} of {len(rows)} targets were reached."
    if missed:
        met += f" Not reached: {', '.join(row['name'] for row in missed)}."
    parts += [met, "## How it was measured", HOW, _machine(document["machine"], measurements)]
    parts += ["## What each number means"]
    for row in rows:
        parts += [f"### {row['name']}", _sentence(row)]
        if meaning := MEANINGS.get(row["name"]):
            parts.append(meaning)
        if row["detail"]:
            parts.append("\n".join(f"- {name}: {_number(value)}" for name, value in row["detail"].items()))
    if points := measurements.get("growth", {}).get("points"):
        parts += ["## How cost grows", MEANINGS["growth"], "![cost per job and peak memory](performance.svg)"]
        parts += _growth_table(points)
    return "\n\n".join(parts) + "\n"


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| | what | against | target | reached | from … to |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {'✓' if row['met'] else '✗'} | {row['what']} | {row['against'] or '-'} | {_target(row)} "
        f"| **{_value(row['reached'], row['unit'])}** | {_number(row['lowest'])} … {_number(row['highest'])} |"
        for row in rows
    ]
    return ["\n".join(lines)]


def _growth_table(points: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| step | jobs | wall, s | CPU, s | µs per job | peak, MiB | KiB per job |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {point['step']} | {point['jobs']:,} | {_number(point['wall_s'])} | {_number(point['cpu_s'])} "
        f"| {_number(point['us_per_job'])} | {_number(point['peak_mib'])} | {_number(point['kib_per_job'])} |"
        for point in points
    ]
    return ["\n".join(lines)]


def _sentence(row: Mapping[str, Any]) -> str:
    against = f" against {row['against']}" if row["against"] else ""
    sides = _side(row["ours"]) + (f"; {_side(row['theirs'])}" if row["theirs"] else "")
    reached = f"{_value(row['reached'], row['unit'])}, target {_target(row)}"
    return f"{row['what'][0].upper()}{row['what'][1:]}{against}: **{reached}** ({sides}; {row['date']})."


def _machine(machine: Mapping[str, Any], measurements: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    peers = ", ".join(said if name in said else f"{name} {said}" for name, said in machine["peers"].items() if said)
    loads = [body["load_before"] for body in measurements.values()]
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"Python {machine['python']}, SQLite {machine['sqlite']}; {packages}. Peers: {peers}. "
        f"Load before each measurement: {min(loads):g} to {max(loads):g}."
    )


def _side(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return ""
    return f"{side['label']} {_value(side['median'], side['unit'])}, median of {len(side['values'])}"


def _target(row: Mapping[str, Any]) -> str:
    return f"{'≥' if row['at_least'] else '≤'} {_value(row['target'], row['unit'])}"


def _value(number: float, unit: str) -> str:
    return f"{_number(number)} {unit}"


def _number(value: object) -> str:
    """Three digits that say something; whole numbers from a thousand on."""
    if not isinstance(value, int | float):
        return str(value)
    if abs(value) >= _COARSE:
        return f"{value:,.0f}"
    if abs(value) >= _FINE:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.3g}"
