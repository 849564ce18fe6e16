"""Where an organisation's API is: one host per pod, and the rules an address has to meet.

A token and the names of a campaign travel to this address, so it is checked once, before anything is sent there:
https, or plain http where the request cannot leave the machine.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from runner.errors import ConfigurationError

POD_HOSTS: Final[dict[str, str]] = {
    "1": "api-campaign-us-1.goacoustic.com",
    "2": "api-campaign-us-2.goacoustic.com",
    "3": "api-campaign-us-3.goacoustic.com",
    "4": "api-campaign-us-4.goacoustic.com",
    "5": "api-campaign-us-5.goacoustic.com",
    "6": "api-campaign-eu-1.goacoustic.com",
    "7": "api-campaign-ap-2.goacoustic.com",
    "8": "api-campaign-ca-1.goacoustic.com",
    "9": "api-campaign-us-6.goacoustic.com",
    "A": "api-campaign-ap-1.goacoustic.com",
    "B": "api-campaign-ap-3.goacoustic.com",
}
"""Pod -> host, as the vendor publishes them; an org lives on one pod."""


def base_url_of(*, pod: str | None, base_url: str | None) -> str:
    """Where the API is, without a slash at the end: the pod's host, or `base_url` when it may be used.

    Args:
        pod: a key of `POD_HOSTS`, letters in either case. Exactly one of the two is given.
        base_url: https, or http on loopback; it may have a path, but no user, password, query or fragment.

    Raises:
        ConfigurationError: neither or both are given, there is no such pod, or the address breaks a rule.
    """
    if (pod is None) == (base_url is None):
        raise ConfigurationError(
            "Exactly one of pod and base_url must be set.", remedy='Set pod = "6", or whichever pod your org lives on.'
        )
    if pod is not None:
        host = POD_HOSTS.get(pod.strip().upper())
        if host is None:
            raise ConfigurationError(
                f"There is no pod {pod[:20]!r}.",
                remedy=f"The pods are {', '.join(POD_HOSTS)}; the address of your Campaign login page names yours.",
            )
        return f"https://{host}"
    assert base_url is not None  # noqa: S101 - said above, for mypy
    return _checked(base_url.strip())


def is_loopback(host: str) -> bool:
    """Whether requests to `host` (a name, or an address without brackets) stay on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(base_url: str) -> str:
    # None of these messages repeats the address: a password may be part of it, and one mistyped may be anywhere in it.
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # read for its check: a port that is none raises
    except ValueError:
        raise _wrong("it is no address") from None
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        raise _wrong("it has characters that an address cannot have")
    if parts.username is not None or parts.password is not None:
        raise _wrong("it has a user or password in it")
    if "?" in base_url or "#" in base_url:
        raise _wrong("it has a query or fragment")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _wrong("it does not begin with https:// and a host")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise _wrong("plain http is for loopback only, since the token would cross the network unprotected")
    return SplitResult(parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", "").geturl()


def _wrong(cause: str) -> ConfigurationError:
    return ConfigurationError(
        "base_url cannot be used.", cause=f"What is wrong: {cause}.", remedy="An example: https://api.example.com"
    )
