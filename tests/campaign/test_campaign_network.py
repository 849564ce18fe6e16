from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from runner.campaign.network import ConnectFailedError, failure_text, proxy_for, tls_context_for
from runner.errors import ConfigurationError

API = "https://api.example.com"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, "http://proxy.test:3128"),
        ({"https_proxy": "http://proxy.test:3128"}, "http://proxy.test:3128"),
        ({"https_proxy": "http://low.test:1", "HTTPS_PROXY": "http://up.test:2"}, "http://low.test:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://up.test:2"}, None),
        ({"HTTPS_PROXY": "proxy.test:3128"}, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": "https://proxy.test"}, "https://proxy.test"),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
        ({"HTTP_PROXY": "http://proxy.test:3128"}, None),
        ({"ALL_PROXY": "http://proxy.test:3128"}, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "x.test, .example.com"}, None),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "no_proxy": "api.example.com"}, None),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "other.com"}, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "ple.com"}, "http://proxy.test:3128"),
    ],
)
def test_the_proxy_is_the_one_the_usual_variables_name(environ: Mapping[str, str], url: str | None) -> None:
    proxy = proxy_for(API, environ)
    assert (None if proxy is None else str(proxy.url)) == url


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8180", "http://localhost:1", "https://[::1]:8180"])
def test_loopback_never_goes_through_a_proxy(base_url: str) -> None:
    everything = {"HTTP_PROXY": "http://p.test", "HTTPS_PROXY": "http://p.test", "ALL_PROXY": "http://p.test"}
    assert proxy_for(base_url, everything) is None


def test_a_proxys_password_goes_to_the_proxy_and_into_no_address_or_repr() -> None:
    proxy = proxy_for(API, {"HTTPS_PROXY": "http://us%40er:hunter2@proxy.test:3128"})
    assert proxy is not None
    assert proxy.url == URL("http://proxy.test:3128")
    assert proxy.headers == {"Proxy-Authorization": "Basic dXNAZXI6aHVudGVyMg=="}
    assert "aHVudGVyMg" not in repr(proxy)


@pytest.mark.parametrize(
    "value", ["socks5://:hunter2@p.test", "http://hunter2@:80", "http://p.test:hunter2", "http://["]
)
def test_a_proxy_that_cannot_be_used_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        proxy_for(API, {"HTTPS_PROXY": value})
    assert "hunter2" not in str(caught.value)


def test_certificates_are_verified_and_plain_http_has_no_tls() -> None:
    context = tls_context_for(API, {})
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert tls_context_for("http://127.0.0.1:8180", {"REQUESTS_CA_BUNDLE": "/nowhere"}) is None


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_that_is_not_there_or_holds_nothing_is_told_by_its_variable(variable: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for path in (tmp_path / "none.pem", empty):
        with pytest.raises(ConfigurationError, match=variable):
            tls_context_for(API, {variable: str(path)})


def test_openssls_own_variables_come_before_the_bundles() -> None:
    assert tls_context_for(API, {"SSL_CERT_DIR": "/nowhere", "CURL_CA_BUNDLE": "/nowhere"}) is not None


def test_what_a_failure_says_has_no_headers_or_address_in_it() -> None:
    url = URL("https://api.example.com/secret-path")
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": "Bearer tok-S3CR3T"}))
    info = aiohttp.RequestInfo(url, "POST", headers, url)
    error = aiohttp.ClientResponseError(info, (), status=400, message="Bad\r\nheader")
    assert failure_text(error) == "no valid HTTP: Bad\\r\\nheader"
    refused = aiohttp.ClientHttpProxyError(info, (), status=407, message="Who are you?")
    assert failure_text(refused) == "the proxy refused: HTTP 407 Who are you?"
    assert failure_text(aiohttp.InvalidURL("http://user:hunter2@x")) == "InvalidURL"
    assert failure_text(ConnectionResetError(104, "reset")) == "ConnectionResetError: [Errno 104] reset"
    assert failure_text(ConnectFailedError("no route")) == "no route"
