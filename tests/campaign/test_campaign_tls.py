"""TLS, which every request to the real API goes through: who is trusted, what a failure means, proxies that tunnel.

Real handshakes on loopback, on asyncio's loop and on uvloop, whose TLS is its own; a run uses the latter.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from campaign.campaign_fakes import (
    TOKEN,
    FakeSlots,
    Handler,
    answering,
    client_for,
    created,
    http,
    job,
    raw_server,
    read_request,
)

from runner.model import Accepted, NotConnected, Outcome, Scenario, Unknown

HOST = "127.0.0.1"
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param:
        pytest.importorskip("uvloop")
    return lambda main: anyio.run(main, backend_options={"use_uvloop": request.param})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority's certificate, as an administrator would hand it out."""
    path = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_side(authority: trustme.CA, host: str, **how: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **how).configure_cert(context)
    return context


async def send_once(
    base_url: str, environ: Mapping[str, str], slots: FakeSlots | None = None, *, times: int = 1
) -> list[Outcome]:
    async with client_for(base_url, slots or FakeSlots(), environ=environ) as client:
        return [await client.send(job(str(n)), token=TOKEN) for n in range(times)]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_server_whose_certificate_is_trusted_gets_the_request(
    variable: str, run: Run, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(bundle))  # OpenSSL reads its own from the process

    async def main() -> list[Outcome]:
        handler = answering(*(http(201, created(n)) for n in (7, 8)))
        async with raw_server(handler, tls=server_side(authority, HOST)) as url:
            assert url.startswith("https://")
            return await send_once(url, {variable: str(bundle)}, times=2)

    assert [outcome.send_id for outcome in run(main) if isinstance(outcome, Accepted)] == ["7", "8"]


def _nobody(_: trustme.CA) -> ssl.SSLContext:
    return server_side(trustme.CA(), HOST)


def _another(authority: trustme.CA) -> ssl.SSLContext:
    return server_side(authority, "other.test")


def _expired(authority: trustme.CA) -> ssl.SSLContext:
    return server_side(authority, HOST, not_after=datetime.now(UTC) - timedelta(days=1))


def _outdated(authority: trustme.CA) -> ssl.SSLContext:
    context = server_side(authority, HOST)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize(
    ("server", "says"),
    [
        pytest.param(_nobody, "CERTIFICATE_VERIFY_FAILED", id="of an authority that is not trusted"),
        pytest.param(_another, "not valid for", id="of another host"),
        pytest.param(_expired, "expired", id="expired"),
        pytest.param(_outdated, "", id="a protocol of old"),
        pytest.param(lambda _: None, "", id="no TLS at all"),
    ],
)
def test_a_server_that_may_be_somebody_else_gets_nothing(
    server: Callable[[trustme.CA], ssl.SSLContext | None], says: str, run: Run, authority: trustme.CA, bundle: Path
) -> None:
    seen: list[bytes] = []
    slots = FakeSlots()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            seen.append(await reader.read(2**16))
            writer.write(http(201, created()))

    async def main() -> list[Outcome]:
        async with raw_server(listen, tls=server(authority)) as url:
            return await send_once(url.replace("http:", "https:"), {"REQUESTS_CA_BUNDLE": str(bundle)}, slots)

    (outcome,) = run(main)
    assert isinstance(outcome, NotConnected), "nothing was sent, so the job may be tried again at once"
    assert says in outcome.message
    assert TOKEN not in outcome.message
    assert not any(b"POST" in data or TOKEN.encode() in data for data in seen)
    assert slots.lingered == []


def test_a_connection_lost_after_the_request_leaves_it_in_doubt(run: Run, authority: trustme.CA, bundle: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.transport.abort()

    async def main() -> list[Outcome]:
        async with raw_server(hang_up, tls=server_side(authority, HOST)) as url:
            return await send_once(url, {"REQUESTS_CA_BUNDLE": str(bundle)}, slots)

    slots = FakeSlots()
    (outcome,) = run(main)
    assert isinstance(outcome, Unknown)
    assert outcome.scenario is Scenario.CONNECTION_LOST
    assert slots.lingered == [30.0]


def test_a_proxy_tunnels_and_learns_neither_token_nor_job(run: Run, authority: trustme.CA, bundle: Path) -> None:
    asked: list[tuple[str, dict[str, str], bytes]] = []
    sent: list[tuple[str, dict[str, str], bytes]] = []
    passed = bytearray()

    async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await read_request(reader))
        writer.write(http(201, created(9)))

    async def main() -> list[Outcome]:
        async with (
            raw_server(api, tls=server_side(authority, "api.test")) as target,
            raw_server(tunnel_to(int(target.rpartition(":")[2]), asked, passed)) as proxy,
        ):
            environ = {
                "HTTPS_PROXY": proxy.replace("//", "//user:hunter2@"),
                "REQUESTS_CA_BUNDLE": str(bundle),
            }
            return await send_once("https://api.test", environ)

    (outcome,) = run(main)
    assert isinstance(outcome, Accepted)
    assert outcome.send_id == "9"
    ((line, headers, _),) = asked
    assert line == "CONNECT api.test:443 HTTP/1.1"
    assert headers["proxy-authorization"] == "Basic dXNlcjpodW50ZXIy"
    assert "authorization" not in headers
    ((line, headers, _),) = sent
    assert line.startswith("POST /rest/")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "proxy-authorization" not in headers
    assert passed
    assert TOKEN.encode() not in passed


def tunnel_to(port: int, asked: list[tuple[str, dict[str, str], bytes]], passed: bytearray) -> Handler:
    """A proxy that connects whoever asks to a port of this machine, and keeps what they say to it."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            passed.extend(data)
            writer.write(data)
        writer.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        theirs = await asyncio.open_connection(HOST, port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, theirs[1]), pump(theirs[0], writer))

    return proxy
