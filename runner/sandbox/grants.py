"""Access tokens: who gets one, which one, and how long it works.

As documented: a token lives 4 hours; asked for again within 3 hours of its grant the same one comes back; after
that a new one is granted while the old one lives on for its last hour. `expires_in` is the documented whole lifetime
even for a token that is no longer young, which is the reading that asks most of a client.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.sandbox.answers import Answer, json_answer, oauth_error

REFUSED_VALUE = "wrong"
"""The one value that is refused as a client id, client secret or refresh token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    token: str
    at: float


class Grants:
    """The token endpoint's memory. `clock` gives seconds since some fixed moment."""

    def __init__(self, *, lifetime_s: int, clock: Callable[[], float], on_grant: Callable[[], None]) -> None:
        self._lifetime_s = lifetime_s
        self._renewed_after_s = lifetime_s * 3 / 4
        self._clock = clock
        self._on_grant = on_grant
        self._newest: dict[tuple[str, str], _Grant] = {}
        self._ends: dict[str, float] = {}

    def answer(self, form: Mapping[str, str]) -> Answer:
        """The answer to a token request with these form fields."""
        if form.get("grant_type", "") != "refresh_token":
            return oauth_error(400, "unsupported_grant_type", "grant_type must be refresh_token.")
        for field in ("client_id", "client_secret", "refresh_token"):
            if not form.get(field):
                return oauth_error(400, "invalid_request", f"{field} is missing.")
        if REFUSED_VALUE in (form["client_id"], form["client_secret"]):
            return oauth_error(401, "invalid_client", "Client authentication failed.")
        if form["refresh_token"] == REFUSED_VALUE:
            return oauth_error(400, "invalid_grant", "The refresh token is invalid.")
        grant = self._grant_for((form["client_id"], form["refresh_token"]))
        body = {"access_token": grant.token, "token_type": "bearer", "expires_in": self._lifetime_s}
        return json_answer(200, body, headers=(("Cache-Control", "no-store"),))

    def admits(self, authorization: str) -> bool:
        """Whether this Authorization header bears a token that was granted here, still lives and was not revoked."""
        scheme, _, token = authorization.partition(" ")
        end = self._ends.get(token)
        return scheme.lower() == "bearer" and end is not None and self._clock() < end

    def revoke_all(self) -> None:
        """Every token granted so far stops working; the next request gets a new one."""
        self._newest.clear()
        self._ends.clear()

    def _grant_for(self, credentials: tuple[str, str]) -> _Grant:
        now = self._clock()
        grant = self._newest.get(credentials)
        if grant is None or now >= grant.at + self._renewed_after_s:
            grant = _Grant(token=secrets.token_urlsafe(24), at=now)
            self._newest[credentials] = grant
            self._ends[grant.token] = now + self._lifetime_s
            self._on_grant()
        return grant
