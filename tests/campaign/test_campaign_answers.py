from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from campaign.campaign_fakes import created
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.campaign.answers import (
    ANSWER_LIMIT,
    MESSAGE_LIMIT,
    decompressed,
    message_of,
    read,
    retry_after_of,
    send_id_of,
    shown,
)

PAGE = (
    b"<!DOCTYPE html><html><head><title>502 Bad</title><style>p {}</style></head><body><!-- pad -->"
    b"<h1>502&nbsp;Bad Gateway</h1><script>x < 1</script>nginx</body></html>"
)
NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)


def packed(body: bytes) -> bytes:
    """The body by gzip. Without the time of packing, which would be in the names of tests, other in each process."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"meta": {"generalErrors": ["Invalid message name"]}}, "Invalid message name"),
        ({"meta": {"generalErrors": [{"message": "Forbidden", "code": 7}]}}, "Forbidden"),
        ({"meta": {"generalErrors": [{"code": 7}]}}, '{"code":7}'),
        ({"meta": {"generalErrors": "Forbidden"}}, "Forbidden"),
        ({"meta": {"generalErrors": ["a", {"message": "b"}, "a"]}}, "a; b"),
        (
            {"meta": {"fieldErrors": {"messageName": ["taken", {"message": "odd"}]}}},
            "messageName: taken; messageName: odd",
        ),
        ({"meta": {"fieldErrors": {"folder": "missing"}}}, "folder: missing"),
        ({"meta": {"fieldErrors": [{"message": "bad"}]}}, "bad"),
        ({"meta": {"generalErrors": ["a"], "fieldErrors": {"f": ["b"]}}, "message": "c"}, "a; f: b; c"),
        ({"message": "plain"}, "plain"),
        ({"error": "invalid_grant", "error_description": "revoked"}, "revoked"),
        (
            {"meta": {"generalErrors": [], "fieldErrors": {}}, "odd": 1},
            '{"meta":{"generalErrors":[],"fieldErrors":{}},"odd":1}',
        ),
        ({"meta": [], "message": 5}, '{"meta":[],"message":5}'),
        (["x"], '["x"]'),
    ],
)
def test_a_message_is_found_wherever_it_may_stand(document: Any, message: str) -> None:
    assert message_of(orjson.dumps(document)) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b" \r\n", ""),
        (b"not json", "not json"),
        (b'{"message": "cut', '{"message": "cut'),
        (
            PAGE,
            "502 Bad 502 Bad Gateway nginx",
        ),
        (b"<h1>unclosed <b", "unclosed"),
        (b"a\x00b\nc\x1b[31md", "a\\x00b\\nc\\x1b[31md"),
        ("right\u202eleft".encode(), "right\\u202eleft"),
        (b"caf\xe9", "caf�"),
    ],
)
def test_a_body_that_is_no_json_becomes_readable_text(body: bytes, message: str) -> None:
    assert message_of(body) == message


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ('{"message":"Größe"}'.encode("latin-1"), "ISO-8859-1"),
        ('{"message":"Größe"}'.encode("windows-1252"), '"windows-1252"'),
        ('{"message":"Größe"}'.encode("utf-16"), None),
        ('{"message":"Größe"}'.encode("utf-16-le"), "utf-16le"),
        ('{"message":"Größe"}'.encode("utf-8-sig"), "utf-8"),
        ('{"message":"Größe"}'.encode(), "utf-16"),  # a lie
        ('{"message":"Größe"}'.encode(), "klingon"),
        ('{"message":"Größe"}'.encode(), "idna"),
        ('{"message":"Größe"}'.encode(), "zlib"),
        ('{"message":"Größe"}'.encode(), "a\x00b"),
    ],
)
def test_a_charset_is_believed_where_it_helps_and_does_no_harm_where_it_lies(body: bytes, charset: str | None) -> None:
    assert message_of(body, charset) == "Größe"


@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "utf-16", "latin-1", "utf-32", "punycode", "\x00"]))
@settings(max_examples=200, deadline=None)
def test_no_body_is_too_odd_to_read(body: bytes, charset: str | None) -> None:
    message = message_of(body, charset)
    assert len(message) <= MESSAGE_LIMIT
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in message)
    send_id_of(body, charset)


@given(st.text(max_size=3000))
@settings(max_examples=100, deadline=None)
def test_showing_twice_is_showing_once(text: str) -> None:
    assert shown(shown(text)) == shown(text)
    assert len(shown(text)) <= MESSAGE_LIMIT


def test_a_long_message_loses_its_middle_and_the_reading_loses_nothing() -> None:
    text = f"A SMS with the name: {'x' * 5000} already exists"
    kept = message_of(text.encode())
    assert len(kept) == MESSAGE_LIMIT
    assert kept.startswith("A SMS with the name: xxx")
    assert kept.endswith("xxx already exists")
    assert read(text.encode()).text == text


def test_hostile_html_costs_no_more_than_other_html() -> None:
    for part in (b"<script", b"<", b"<!--", b"</script ", b"&#"):
        read(b"<html>" + part * (ANSWER_LIMIT // len(part) // 2))


def test_deep_nesting_is_text_and_no_error() -> None:
    assert message_of(b"[" * 100_000).startswith("[[[")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"meta":{}}'])
def test_nothing_or_an_object_may_come_from_the_api(body: bytes) -> None:
    assert read(body).from_api


@pytest.mark.parametrize("body", [b"<html></html>", b"404: Not Found", b'"text"', b"[]", b"{"])
def test_a_page_a_plain_text_or_broken_json_does_not_come_from_the_api(body: bytes) -> None:
    assert not read(body).from_api


@pytest.mark.parametrize(
    ("body", "send_id"),
    [
        (created(4396816), "4396816"),
        (created("4396816"), "4396816"),
        (created("004"), "004"),
        (created(0), "0"),
        (b'{"data":{"id":18446744073709551617}}', "18446744073709551617"),  # beyond 64 bits, exactly
        (b'{"data":{"id":9007199254740993}}', "9007199254740993"),  # beyond a float's integers
        (b'\xef\xbb\xbf{"data":{"id":7}}', "7"),
        ('{"data":{"id":7}}'.encode("utf-16"), "7"),
        (b'{"data":{"location":"https://api.test/x/sendjobs/77"}}', "77"),
        (b'{"data":{"id":null,"location":"/x/sendjobs/77"}}', "77"),
    ],
)
def test_an_id_is_read_exactly_as_it_was_written(body: bytes, send_id: str) -> None:
    assert send_id_of(body) == send_id


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"data":[]}',
        b'{"data":{"id":true}}',
        b'{"data":{"id":-5}}',
        b'{"data":{"id":1.5}}',
        b'{"data":{"id":1e3}}',
        b'{"data":{"id":"12a"}}',
        b'{"data":{"id":" 12"}}',
        '{"data":{"id":"١٢"}}'.encode(),
        b'{"data":{"id":""}}',
        b'{"data":{"id":' + b"9" * 5000 + b"}}",
        b'{"data":{"id":"' + b"9" * 41 + b'"}}',
        b'{"data":{"location":"https://api.test/messages/77"}}',
        b'{"data":{"location":"https://api.test/sendjobs/77?x=1"}}',
        b'{"data":{"id":43968',
        b"<html>4396816</html>",
    ],
)
def test_what_is_surely_no_id_is_none(body: bytes) -> None:
    assert send_id_of(body) is None


@given(st.integers(min_value=0, max_value=10**39))
@settings(deadline=None)
def test_every_id_survives_as_a_number_and_as_text(number: int) -> None:
    assert send_id_of(b'{"data":{"id":%d}}' % number) == str(number)
    assert send_id_of(b'{"data":{"id":"%d"}}' % number) == str(number)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 17 ", 17.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Sun, 01 Jun 2025 14:00:30 +0200", 30.0),
        ("Sun, 01 Jun 2025 12:00:30 -0000", 30.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("Sun, 99 Jun 2025 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_stays_within_an_hour(value: str | None, seconds: float | None) -> None:
    assert retry_after_of(value, now=NOW) == seconds


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_retry_after_is_too_odd_to_read(value: str) -> None:
    seconds = retry_after_of(value, now=NOW)
    assert seconds is None or 0.0 <= seconds <= 3600.0


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (packed(b"text"), "gzip"),
        (packed(b"text"), " GZIP "),
        (packed(b"text"), "x-gzip"),
        (zlib.compress(b"text"), "deflate"),
        (zlib.compress(b"text")[2:-4], "deflate"),
        (b"text", "identity"),
    ],
)
def test_a_compressed_body_is_read_though_none_was_asked_for(body: bytes, encoding: str) -> None:
    assert decompressed(body, encoding) == b"text"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (packed(b"\0" * (ANSWER_LIMIT + 1)), "gzip"),  # a bomb
        (packed(b"text" * 99)[:-9], "gzip"),
        (b"text", "gzip"),
        (b"text", "deflate"),
        (b"text", "br"),
        (packed(packed(b"text")), "gzip, gzip"),
    ],
)
def test_a_compression_that_is_a_bomb_broken_or_unknown_is_unreadable(body: bytes, encoding: str) -> None:
    assert decompressed(body, encoding) is None
