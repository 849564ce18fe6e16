"""Draws how cost grows: an SVG of two panels, written by hand so that no plotting library is needed."""

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
        *_panel(points, 70, "microseconds per job, whole program", lambda point: point["us_per_job"], logarithmic=True),
        *_panel(points, 500, "peak memory, MiB", lambda point: point["peak_mib"], logarithmic=False),
    ]
    for place, step in enumerate(_LABELS):
        x = 70 + 190 * place
        parts.append(_line([(x, HEIGHT - 14), (x + 28, HEIGHT - 14)], step))
        parts.append(f'<text x="{x + 34}" y="{HEIGHT - 10}">{_LABELS[step]}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    points: Points, left: int, title: str, value: Callable[[dict[str, Any]], float], *, logarithmic: bool
) -> list[str]:
    """Jobs go across in powers of ten; memory goes up from zero, so that a rise looks as big as it is."""
    across = _decades([point["jobs"] for point in points])
    most = max(value(point) for point in points)
    if logarithmic:
        up: list[float] = [10.0**power for power in _decades([value(point) for point in points])]
    else:
        up = [100.0 * step for step in range(math.ceil(most / 100) + 1)]
    scale = math.log10 if logarithmic else float

    def place(jobs: float, height: float) -> tuple[float, float]:
        x = left + (math.log10(jobs) - across[0]) / (across[-1] - across[0]) * _PANEL
        y = _BOTTOM - (scale(height) - scale(up[0])) / (scale(up[-1]) - scale(up[0])) * (_BOTTOM - _TOP)
        return round(x, 1), round(y, 1)

    parts = [f'<text x="{left}" y="{_TOP - 18}" font-weight="bold">{title}</text>']
    for height in up:
        _, y = place(10 ** across[0], height)
        parts.append(f'<path d="M{left} {y}H{left + _PANEL}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{height:,.0f}</text>')
    for power in across:
        x, _ = place(10**power, up[0])
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
