"""A page of results as CSV lines, byte for byte as the csv module writes them, in a tenth of its time.

The csv module looks at every character of every cell for one that asks for quotes. Here a column is searched as one
text: where nothing in it asks for quotes, which is nearly always, its cells are taken as they are; else each is looked
at by itself. RFC 4180's line end, CRLF, is also what makes a bare carriage return inside a cell ask for quotes, which
readers take for the end of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from runner.ledger.columns import LATENCY, NUMBERS, TIMES, Columns
from runner.ledger.texts import Texts, integer_texts, latency_texts, time_texts

_ASKING: Final = (",", '"', "\r", "\n")
_END: Final = "\r\n"


def csv_header(names: Sequence[str]) -> bytes:
    """The first line."""
    return (",".join(_fields(names)) + _END).encode()


def csv_lines(names: Sequence[str], columns: Columns) -> bytes:
    """The rows of a page, which has some and at least two columns; an empty field where there is no value."""
    texts = [_text(name, column) for name, column in zip(names, columns, strict=True)]
    return (_END.join(map(",".join, zip(*texts, strict=True))) + _END).encode()


def _text(name: str, column: Sequence[Any]) -> Sequence[str]:
    as_text = _NUMERIC.get(name)
    return _fields(column) if as_text is None else _filled(as_text(column))[0]


def _fields(texts: Texts) -> Sequence[str]:
    filled, whole = _filled(texts)
    if not any(asking in whole for asking in _ASKING):
        return filled
    return [_quoted(text) if any(asking in text for asking in _ASKING) else text for text in filled]


def _filled(texts: Texts) -> tuple[Sequence[str], str]:
    """The texts with nothing for None, and all of them as one."""
    if not any(texts):
        return [""] * len(texts), ""
    # Joining tells of a None sooner than looking for one does.
    try:
        return cast("Sequence[str]", texts), "".join(cast("Sequence[str]", texts))
    except TypeError:
        filled = ["" if text is None else text for text in texts]
        return filled, "".join(filled)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


_NUMERIC: Final[dict[str, Callable[[Sequence[Any]], Texts]]] = {
    **dict.fromkeys(NUMBERS, integer_texts),
    **dict.fromkeys(TIMES, time_texts),
    LATENCY: latency_texts,
}
"""Columns whose digits never ask for quotes."""
