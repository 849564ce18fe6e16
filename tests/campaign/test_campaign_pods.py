from __future__ import annotations

import pytest

from runner.campaign.pods import POD_HOSTS, base_url_of
from runner.errors import ConfigurationError


@pytest.mark.parametrize(
    ("pod", "host"),
    [
        ("1", "api-campaign-us-1"),
        ("5", "api-campaign-us-5"),
        ("6", "api-campaign-eu-1"),
        ("7", "api-campaign-ap-2"),
        ("8", "api-campaign-ca-1"),
        ("9", "api-campaign-us-6"),
        ("A", "api-campaign-ap-1"),
        ("b", "api-campaign-ap-3"),
    ],
)
def test_a_pod_leads_to_the_host_the_vendor_publishes(pod: str, host: str) -> None:
    assert base_url_of(pod=pod, base_url=None) == f"https://{host}.goacoustic.com"


def test_there_are_eleven_pods_with_a_host_each() -> None:
    assert list(POD_HOSTS) == ["1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B"]
    assert len(set(POD_HOSTS.values())) == 11


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.example.com/", "https://api.example.com"),
        ("https://api.example.com/campaign//", "https://api.example.com/campaign"),
        (" HTTPS://API.example.com:8443/A ", "https://api.example.com:8443/A"),
        ("http://127.0.0.1:8180", "http://127.0.0.1:8180"),
        ("http://localhost:8180/", "http://localhost:8180"),
        ("http://[::1]:8180/x", "http://[::1]:8180/x"),
    ],
)
def test_an_address_is_used_without_the_slash_at_its_end(given: str, used: str) -> None:
    assert base_url_of(pod=None, base_url=given) == used


@pytest.mark.parametrize(
    "wrong",
    [
        "http://api.example.com",  # the token would cross the network unprotected
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "https://user:hunter2@api.example.com",
        "https://@api.example.com",
        "https://api.example.com?key=hunter2",
        "https://api.example.com#hunter2",
        "https://api.example.com/?",
        "ftp://api.example.com",
        "api.example.com",
        "https://",
        "https://api.example.com:port",
        "https://[::1",
        "https://api.example.com/a b",
        "https://api.example.com/\r\nX: y",
        "",
    ],
)
def test_an_address_that_breaks_a_rule_is_refused_without_being_repeated(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        base_url_of(pod=None, base_url=wrong)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("pod", "base_url"), [(None, None), ("6", "https://api.example.com"), ("C", None), ("", None)])
def test_neither_both_or_an_unknown_pod_are_refused(pod: str | None, base_url: str | None) -> None:
    with pytest.raises(ConfigurationError):
        base_url_of(pod=pod, base_url=base_url)
