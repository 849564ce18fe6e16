"""Draws how cost grows: an SVG of two panels with logarithmic axes, by hand, so that no plotting needs installing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

WIDTH: Final = 860
HEIGHT: Final = 330
_PANEL: Final = 320
_TOP, _BOTTOM = 48, 270
_COLOURS: Final = {"check": "#2a78b8", "stage": "#c4661f", "send": "#3c8d4e"}
_DASHES: Final = {"check": "", "stage": "7 3", "send": "2 3"}
_LABELS: Final = {"check": "check", "stage": "check + stage", "send": "check + stage + send + results"}

Points = Sequence[dict[str, Any]]


def draw(points: Points) -> str:
    """The picture as the text of an SVG file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        "<title>Cost per job and peak memory over the number of jobs</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_panel(points, 70, "microseconds per job, whole program", lambda point: point["us_per_job"]),
        *_panel(points, 500, "peak memory, MiB", lambda point: point["peak_mib"]),
    ]
    for place, step in enumerate(_LABELS):
        x = 70 + 190 * place
        parts.append(_line([(x, HEIGHT - 14), (x + 28, HEIGHT - 14)], step))
        parts.append(f'<text x="{x + 34}" y="{HEIGHT - 10}">{_LABELS[step]}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(points: Points, left: int, title: str, value: Callable[[dict[str, Any]], float]) -> list[str]:
    across = _decades([point["jobs"] for point in points])
    up = _decades([value(point) for point in points])

    def place(jobs: float, height: float) -> tuple[float, float]:
        x = left + (math.log10(jobs) - across[0]) / (across[-1] - across[0]) * _PANEL
        y = _BOTTOM - (math.log10(height) - up[0]) / (up[-1] - up[0]) * (_BOTTOM - _TOP)
        return round(x, 1), round(y, 1)

    parts = [f'<text x="{left}" y="{_TOP - 18}" font-weight="bold">{title}</text>']
    for power in up:
        _, y = place(10 ** across[0], 10**power)
        parts.append(f'<path d="M{left} {y}H{left + _PANEL}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{10**power:,}</text>')
    for power in across:
        x, _ = place(10**power, 10 ** up[0])
        parts.append(f'<path d="M{x} {_TOP}V{_BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{x}" y="{_BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
    for step in _LABELS:
        line = [place(point["jobs"], value(point)) for point in points if point["step"] == step]
        parts.append(_line(line, step))
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{_COLOURS[step]}"/>' for x, y in line]
    return parts


def _line(corners: Sequence[tuple[float, float]], step: str) -> str:
    path = " ".join(f"{x},{y}" for x, y in corners)
    dashes = f' stroke-dasharray="{_DASHES[step]}"' if _DASHES[step] else ""
    return f'<polyline points="{path}" fill="none" stroke="{_COLOURS[step]}" stroke-width="2"{dashes}/>'


def _decades(values: Sequence[float]) -> range:
    """The powers of ten that hold all values, two at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return range(low, max(high, low + 1) + 1)
