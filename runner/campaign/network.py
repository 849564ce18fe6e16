"""The way to the API: the proxy, the certificates to trust, and connections whose failure is told from a request's.

The environment is read once, when the client starts. aiohttp's own `trust_env` would look at it, and into netrc, on
each request: slow, and netrc could put other credentials in the place of our token.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass

import aiohttp
from yarl import URL

from runner.campaign.answers import shown
from runner.campaign.pods import is_loopback
from runner.errors import ConfigurationError

KEEPALIVE_S: Final = 4.0
"""Seconds an idle connection is kept. A request on a connection that the server is just closing leaves its job in
doubt, so this stays below the shortest idle time-out in common use at servers (5 s); a busy run never idles so long."""
DNS_CACHE_S: Final = 60
_CA_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class ConnectFailedError(aiohttp.ClientError):
    """No connection was made, so no byte of the request left. Never leaves this room."""


class Connector(aiohttp.TCPConnector):
    """Connections without a limit of their own (the slots are the limit), whose failure is a type of its own.

    aiohttp raises some errors both for a connection that could not be made (a proxy that hangs up on CONNECT) and for
    a request that was lost on one. The first surely sent nothing, the second leaves its job in doubt, so they are told
    apart here, at the one place where the difference can be seen.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> aiohttp.connector.Connection:
        """Get a connection from the pool, or make one.

        Raises:
            ConnectFailedError: there is none to be had.
        """
        try:
            return await super().connect(req, traces, timeout)
        except TimeoutError:
            raise ConnectFailedError("no connection within the time-out") from None
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was sent
            # The error's repr may hold request headers, so it is not kept as the cause.
            raise ConnectFailedError(failure_text(error)) from None


def failure_text(error: BaseException) -> str:
    """What an error of the network says, on one line, without request headers or addresses with passwords."""
    kind = type(error).__name__
    match error:
        case ConnectFailedError():
            return shown(str(error))
        case aiohttp.ClientHttpProxyError(status=status, message=message):
            return shown(f"the proxy refused: HTTP {status} {message}")
        case aiohttp.ClientResponseError(message=message):  # its own text has the whole address
            return shown(f"no valid HTTP: {message}")
        case OSError() | aiohttp.ServerDisconnectedError() if str(error):
            return shown(f"{kind}: {error}")
        case _:
            return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The proxy for all requests of a client."""

    url: URL
    """Without user and password."""
    headers: Mapping[str, str] = field(repr=False)
    """`Proxy-Authorization`, or nothing; sent to the proxy alone."""


def proxy_for(base_url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names for `base_url`; None: go there directly, as always to loopback.

    Looks at HTTPS_PROXY or HTTP_PROXY by the address's scheme, then ALL_PROXY, and at NO_PROXY, the lower-case
    spelling of each first.

    Raises:
        ConfigurationError: the variable's value is no address of an http or https proxy.
    """
    target = urlsplit(base_url)
    if target.hostname is None or is_loopback(target.hostname):
        return None
    for variable in (f"{target.scheme}_proxy", "all_proxy"):
        value = _lower_first(environ, variable)
        if value:
            break
    else:
        return None
    host = target.netloc.rpartition("@")[2]
    if proxy_bypass(host, {"no": _lower_first(environ, "no_proxy")}):
        return None
    return _parsed(value, variable.upper())


def tls_context_for(base_url: str, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """The TLS rules for `base_url`: certificates are verified, always; None for plain http.

    Trusts the system's certificates, or those that SSL_CERT_FILE, SSL_CERT_DIR (OpenSSL's own variables), else
    REQUESTS_CA_BUNDLE, else CURL_CA_BUNDLE (a file each) name.

    Raises:
        ConfigurationError: the file is not there or holds no certificates.
    """
    if not base_url.startswith("https:"):
        return None
    if environ.get("SSL_CERT_FILE") or environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context()
    for variable in _CA_BUNDLES:
        if path := environ.get(variable):
            try:
                return ssl.create_default_context(cafile=path)
            except OSError as error:  # ssl.SSLError, for a file without certificates, is one
                raise ConfigurationError(
                    f"The certificates that {variable} names ({path}) cannot be read: {error.strerror or error}.",
                    remedy=f"Correct {variable}, or unset it to trust the system's certificates.",
                ) from None
    return ssl.create_default_context()


def _lower_first(environ: Mapping[str, str], variable: str) -> str:
    if variable in environ:
        return environ[variable]
    # A CGI server puts the client's "Proxy:" header there, so it is not ours to believe.
    if variable == "http_proxy" and "REQUEST_METHOD" in environ:
        return ""
    return environ.get(variable.upper(), "")


def _parsed(value: str, variable: str) -> Proxy:
    # The value is not shown: it may hold a password.
    wrong = ConfigurationError(
        f"{variable} does not name an http or https proxy.",
        cause="Other kinds of proxy (SOCKS) are not supported.",
        remedy=f"Set {variable} to an address such as http://proxy.example.com:3128, or unset it.",
    )
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        url = URL.build(scheme=parts.scheme, host=parts.hostname or "", port=port)
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    if parts.username is None:
        return Proxy(url=url, headers={})
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    credentials = base64.b64encode(user.encode()).decode("ascii")
    return Proxy(url=url, headers={"Proxy-Authorization": f"Basic {credentials}"})
