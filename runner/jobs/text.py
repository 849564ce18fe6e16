"""The bytes of a file become UTF-8, piece by piece, and are counted into its digest on the way.

Everything behind this module sees valid UTF-8 without a byte order mark, whatever the file is in. The encoding is
never guessed: UTF-8, unless a byte order mark says UTF-16 or UTF-32, unless the operator names another one. Bytes
that do not fit stop the file, since a guess here would put wrong letters on thousands of phones.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

from runner.errors import ConfigurationError

PIECE: Final = 2 * 2**20
"""Bytes read at a time: enough that the work per piece is cheap beside the work per row, little enough for memory."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Digest(Protocol):
    """What the bytes are counted into; a `hashlib` object."""

    def update(self, data: bytes, /) -> None:
        """Takes in more bytes."""


class UndecodableError(Exception):
    """The bytes after the last piece do not fit the encoding. Never leaves this room: the reader knows the row."""

    def __init__(self, encoding: str, *, named: bool) -> None:
        super().__init__(encoding)
        self.encoding = encoding
        self.named = named
        """Whether the operator named the encoding."""


def check_encoding(name: str) -> str:
    """The usual spelling of an encoding; `ConfigurationError` where Python has no text encoding of that name."""
    try:
        info = codecs.lookup(name)
        info.incrementaldecoder().decode(b"")
        "".encode(name)
    except (LookupError, UnicodeError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"There is no text encoding named {name!r}.",
            remedy="Usual ones are utf-8, utf-16, cp1252 (Windows), latin-1 and mac-roman.",
        ) from error
    return info.name


def encoding_of(head: bytes, *, named: str | None) -> tuple[str, int]:
    """The encoding of a file that begins with `head`, and the length of its byte order mark."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            # A named encoding wins, but the mark of the very same one is still no part of the text.
            if named is None or codecs.lookup(named).name in {encoding, encoding[:-3], "utf-8-sig"}:
                return encoding, len(mark)
            break
    return named or "utf-8", 0


def utf8_pieces(file: BinaryIO, *, named: str | None, digest: Digest | None = None) -> Iterator[bytes]:
    """The file's text as UTF-8, a few MiB at a time, from where the file stands (its beginning) to its end.

    Raises `UndecodableError` after the piece that ends where the trouble begins, and `OSError` as the file does.
    """
    data = file.read(PIECE)
    encoding, skip = encoding_of(data, named=named)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    plain = codecs.lookup(encoding).name == "utf-8"
    while True:
        if digest is not None:
            digest.update(data)
        body = data[skip:] if skip else data
        skip = 0
        if plain and body.isascii() and not decoder.getstate()[0] and data:
            yield body
        else:
            yield from _decoded(decoder, body, final=not data, encoding=encoding, named=named is not None)
        if not data:
            return
        data = file.read(PIECE)


def _decoded(
    decoder: codecs.IncrementalDecoder, data: bytes, *, final: bool, encoding: str, named: bool
) -> Iterator[bytes]:
    state = decoder.getstate()
    try:
        text = decoder.decode(data, final)
        piece = text.encode()
    except UnicodeDecodeError as error:
        good = _good_part(decoder, state, data[: max(0, error.start - len(state[0]))])
        if good:
            yield good
        raise UndecodableError(encoding, named=named) from error
    except (UnicodeError, ValueError) as error:  # codecs such as UTF-7 can hand out what is no Unicode
        raise UndecodableError(encoding, named=named) from error
    if piece:
        yield piece


def _good_part(decoder: codecs.IncrementalDecoder, state: tuple[bytes, int], data: bytes) -> bytes:
    """What can be read before the trouble; it serves to count rows, so nothing is also an answer."""
    try:
        decoder.setstate(state)
        return decoder.decode(data).encode()
    except (UnicodeError, ValueError):
        return b""
