"""One organisation's configuration: the TOML file, then the environment, then flags; the later one wins.

Secrets come from the environment alone (or from a file that the environment names), so that none can end up in a
configuration under version control or in a process list. Whoever reads this module's errors sees the key, the value
and what is allowed, never a secret.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from runner.errors import ConfigurationError
from runner.model import ATTRIBUTES

CONFIG_VARIABLE: Final = "SMS_RUNNER_CONFIG"
DEFAULT_CONFIG: Final = Path("sms-runner.toml")
ENV_PREFIX: Final = "SMS_RUNNER_"
SECRET_VARIABLES: Final = ("SMS_RUNNER_CLIENT_ID", "SMS_RUNNER_CLIENT_SECRET", "SMS_RUNNER_REFRESH_TOKEN")
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
PODS: Final = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B")

API_MAX_CONCURRENT: Final = 10
"""Concurrent requests the API allows one organisation; the eleventh is rejected (documented)."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class MaxRejected(_Section):
    """How many rejections stop a run early: a number, or a percentage that counts once 100 outcomes are in."""

    count: int | None = Field(default=None, ge=0)
    percent: float | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        match value:
            case bool():
                pass
            case int():
                return {"count": value}
            case str() if value.strip().endswith("%"):
                return {"percent": value.strip().removesuffix("%").strip()}
            case str() if value.strip().isdecimal():
                return {"count": int(value)}
            case dict() | MaxRejected():
                return value
        msg = 'a number of rows such as 50, or a percentage such as "20%"'
        raise ValueError(msg)

    def exceeded(self, *, rejected: int, outcomes: int) -> bool:
        """Whether `rejected` of `outcomes` (this run's, in_doubt not counted) is more than is allowed."""
        if self.count is not None:
            return rejected > self.count
        return self.percent is not None and outcomes >= 100 and rejected * 100 > self.percent * outcomes  # noqa: PLR2004 - the design's number

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{self.percent:g}%"


class Sending(_Section):
    """How a batch is sent: `[sending]` of the configuration."""

    max_concurrent: int = Field(default=API_MAX_CONCURRENT, ge=1, le=API_MAX_CONCURRENT)
    """Requests at one moment; below ten leaves room for the org's other programs."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How long one request may take before it is given up on."""
    settle_seconds: float = Field(default=30.0, ge=0, le=3600)
    """After this time a request that was given up on is taken to be over at the server."""
    max_attempts: int = Field(default=5, ge=1, le=100)
    """Requests for one job in one run whose outcome stays unknown, before it is left in doubt."""
    max_rejected: MaxRejected = MaxRejected(percent=20)
    """More rejections than this stop the run: a number, or a percentage of the outcomes once 100 are in."""


class Settings(BaseSettings):
    """Everything one organisation's runs are set by. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )

    org: Annotated[str, Field(min_length=1, max_length=200)]
    pod: str | None = None
    base_url: str | None = None
    """Instead of `pod`: where the API is. Plain http on loopback only."""
    ledger: Path | None = None
    """Default: `<org>.ledger.db` beside the configuration file. A relative path is relative to that file."""
    timezone: ZoneInfo | None = None
    """For a scheduledDate without an offset; without it such a date is a problem."""
    sending: Sending = Sending()
    defaults: dict[str, str] = {}
    """Documented attribute -> value, for columns the file lacks or cells left blank."""
    columns: dict[str, str] = {}
    """The file's header -> documented attribute; "" keeps a header that looks like one as an ordinary column."""
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is handed over and nothing else; `load_settings` lays one layer over the other."""
        return (init_settings,)

    @field_validator("timezone", mode="before")
    @classmethod
    def _zone(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                msg = 'the name of a time zone such as "Europe/Berlin"'
                raise ValueError(msg) from None
        return value

    @field_validator("pod", mode="before")
    @classmethod
    def _pod(cls, value: object) -> object:
        text = str(value).upper() if isinstance(value, int | str) and not isinstance(value, bool) else value
        if text is not None and text not in PODS:
            msg = f"one of {', '.join(PODS)}"
            raise ValueError(msg)
        return text

    @field_validator("defaults", mode="before")
    @classmethod
    def _default_texts(cls, value: object) -> object:
        # TOML has numbers and dates of its own; cells are text, and both go through the same checks. The names of
        # environment variables come without their case.
        if isinstance(value, dict):
            names = {name.lower(): name for name in ATTRIBUTES}
            return {names.get(k.lower(), k): v if isinstance(v, str) else str(v) for k, v in value.items()}
        return value

    @field_validator("defaults")
    @classmethod
    def _default_names(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = [name for name in value if name not in ATTRIBUTES]
        if unknown:
            msg = f"{unknown[0]!r} is no attribute; the attributes are {', '.join(ATTRIBUTES)}"
            raise ValueError(msg)
        if "messageName" in value:
            msg = "messageName must be unique for each row, so it can have no default"
            raise ValueError(msg)
        return value

    @field_validator("columns")
    @classmethod
    def _column_names(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = [name for name in value.values() if name and name not in ATTRIBUTES]
        if unknown:
            msg = f'{unknown[0]!r} is no attribute; the attributes are {", ".join(ATTRIBUTES)}, and "" for none'
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.pod is None) == (self.base_url is None):
            msg = 'exactly one of pod (such as "6") and base_url must be set'
            raise ValueError(msg)
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
                msg = "base_url: an address such as https://api.example.com, without user, password or query"
                raise ValueError(msg)
            if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
                msg = "base_url: plain http is for loopback only, since the token would cross the network unprotected"
                raise ValueError(msg)
        return self

    @property
    def ledger_path(self) -> Path:
        """Where the ledger is; `load_settings` has made it absolute."""
        return self.ledger if self.ledger is not None else Path(f"{self.org}.ledger.db")

    def credentials(self) -> tuple[SecretStr, SecretStr, SecretStr]:
        """Client id, client secret and refresh token.

        Raises:
            ConfigurationError: one is missing; the message names its variable.
        """
        found = (self.client_id, self.client_secret, self.refresh_token)
        missing = [name for name, value in zip(SECRET_VARIABLES, found, strict=True) if not value]
        if missing:
            raise ConfigurationError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.",
                cause="Secrets are read from the environment only, never from flags or the configuration file.",
                remedy=f"Set {missing[0]}, or {missing[0]}_FILE to the path of a file that holds it.",
            )
        client_id, client_secret, refresh_token = found
        assert client_id and client_secret and refresh_token  # noqa: S101, PT018 - the list above says so to people, this to mypy
        return client_id, client_secret, refresh_token


def config_path(flag: Path | None = None) -> Path | None:
    """Find the configuration file: the flag, then SMS_RUNNER_CONFIG, then sms-runner.toml here; None if there is none.

    A file that was named but is not there is for `load_settings` to complain about.
    """
    if flag is not None:
        return flag
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


def load_settings(
    config: str | os.PathLike[str] | None = None, *, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """One org's settings from TOML file, environment and `overrides` (flags).

    Args:
        config: the TOML file; None: as `config_path` finds it.
        overrides: keys -> values that win over everything, nested as in the file, such as ``{"ledger": Path("x.db")}``.

    Raises:
        ConfigurationError: no such file, not TOML, an unknown key, a wrong value, a secret in the file.
    """
    path = config_path(Path(config) if config is not None else None)
    table = _read_toml(path) if path is not None else {}
    where = str(path) if path is not None else "the environment"
    for secret in ("client_id", "client_secret", "refresh_token"):
        if secret in map(str.lower, table):
            raise ConfigurationError(
                f"{where} holds {secret}, which is a secret.",
                cause="Secrets are read from the environment only.",
                remedy=f"Remove it there, renew it if others could read it, and set {ENV_PREFIX}{secret.upper()}.",
            )
    given = table
    for layer in (_environment(), overrides or {}):
        given = _merged(given, layer)
    if path is None and "org" not in given:
        raise ConfigurationError(
            "There is no configuration: no --config, no SMS_RUNNER_CONFIG, and no sms-runner.toml here.",
            remedy="Copy configs/example.toml to sms-runner.toml, or name a file by --config.",
        )
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise _explained(error, where) from None
    base = path.resolve().parent if path is not None else Path.cwd()
    ledger = settings.ledger_path
    if overrides and overrides.get("ledger") is not None:
        base = Path.cwd()  # a path typed on the command line means the folder it was typed in
    return settings.model_copy(update={"ledger": base / ledger.expanduser()})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no configuration file {path}.", remedy="Check --config and SMS_RUNNER_CONFIG."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"The configuration file {path} cannot be read: {reason}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"The configuration file {path} is not valid TOML: {error}.", remedy="Compare it with configs/example.toml."
        ) from None


class _Environment(EnvSettingsSource):
    """The environment's variables; a section may be given as JSON, and what is none is left for `Settings` to judge."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 - as inherited
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:  # "20%" is no JSON, and yet what max_rejected takes
            return value


def _environment() -> dict[str, Any]:
    _refuse_unknown_variables()
    found = _Environment(Settings)()
    for name in SECRET_VARIABLES:
        if (file := os.environ.get(f"{name}_FILE")) and not os.environ.get(name):
            try:
                found[name.removeprefix(ENV_PREFIX).lower()] = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise ConfigurationError(
                    f"The file that {name}_FILE names ({file}) cannot be read: {reason}."
                ) from None
    return found


def _refuse_unknown_variables() -> None:
    """A variable of ours that means nothing is a misspelling, and what it was to set would be missed in silence."""
    keys = {name.upper() for name in Settings.model_fields}
    known = {CONFIG_VARIABLE, *(ENV_PREFIX + key for key in keys), *(f"{name}_FILE" for name in SECRET_VARIABLES)}
    for name in os.environ:
        variable = name.upper()
        if variable.startswith(ENV_PREFIX) and variable.partition("__")[0] not in known:
            raise ConfigurationError(
                f"The environment variable {name} is none of this program's.",
                remedy=f"Unset it, or correct it to {ENV_PREFIX} and one of {', '.join(sorted(keys))}.",
            )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for one, other in (("pod", "base_url"), ("base_url", "pod")):
        if over.get(one) is not None:
            merged.pop(other, None)  # two ways to say where the API is: the later one wins
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _explained(error: ValidationError, where: str) -> ConfigurationError:
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=True):
        key = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "there is no such key"
        elif fault["type"] == "missing":
            message = "must be set"
        shown = fault.get("input")
        secret = any(word in key for word in ("client", "token", "secret"))
        value = f" = {shown!r}"[:80] if isinstance(shown, str | int | float) and not secret else ""
        lines.append(f"{key or 'configuration'}{value}: {message}")
    return ConfigurationError(
        f"The configuration in {where} has {'a fault' if len(lines) == 1 else f'{len(lines)} faults'}:\n  "
        + "\n  ".join(lines),
        remedy="The keys and their meaning stand in configs/example.toml.",
    )
