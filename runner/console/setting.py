"""Which organisation, ledger and folders a command works with, and the sandbox in their place when one is asked for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import ConfigurationError, LedgerError
from runner.settings import Settings, config_path, load_settings

if TYPE_CHECKING:
    from runner.batch.run import Folders
    from runner.ledger.entries import BatchInfo
    from runner.ledger.store import Ledger

SANDBOX_SECRET = "sandbox"  # noqa: S105 - what is sent to the sandbox in the place of secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One org's settings and the folders of this user; for a rehearsal, those of the sandbox."""

    settings: Settings
    folders: Folders


def org_settings(config: Path | None, ledger: Path | None, *, sandbox: bool = False) -> Settings:
    """The settings a command works with; with `sandbox` those of its rehearsals.

    Raises:
        ConfigurationError: there is no configuration, or it is wrong.
    """
    overrides: dict[str, Any] = {} if ledger is None else {"ledger": ledger}
    if not sandbox:
        return load_settings(config, overrides=overrides)
    if config_path(config) is None:
        settings = load_settings(None, overrides={"org": "sandbox", "base_url": "http://127.0.0.1:9"} | overrides)
        return settings if ledger is not None else settings.model_copy(update={"ledger": Path("sandbox.ledger.db")})
    settings = load_settings(config, overrides=overrides)
    own = settings.ledger_path.with_name(f"{settings.ledger_path.name.removesuffix('.ledger.db')}.sandbox.ledger.db")
    return settings.model_copy(
        update={"org": f"{settings.org} (sandbox)", "ledger": settings.ledger_path if ledger is not None else own}
    )


@contextlib.contextmanager
def opened(
    config: Path | None, ledger: Path | None, *, sandbox: bool, faults: Sequence[str] = (), latency_ms: float = 100.0
) -> Iterator[Setting]:
    """The setting of a command that sends; a sandbox runs inside this process while the block does.

    A rehearsal must not touch what is real: it has a ledger, slots and a token of its own, and no secret reaches it.

    Raises:
        ConfigurationError: there is no configuration, or it is wrong; a fault is asked for without the sandbox.
    """
    from runner.batch.run import Folders

    if faults and not sandbox:
        raise ConfigurationError("--fault goes with --sandbox only.", remedy="Faults can be played in a rehearsal.")
    settings = org_settings(config, ledger, sandbox=sandbox)
    if not sandbox:
        yield Setting(settings=settings, folders=Folders.of_user())
        return

    from pydantic import SecretStr

    from runner.sandbox.faults import parse_faults
    from runner.sandbox.options import SandboxOptions
    from runner.sandbox.thread import SandboxThread

    late_s = settings.sending.timeout_seconds + settings.sending.settle_seconds / 2
    options = SandboxOptions(faults=parse_faults(faults), latency_s=latency_ms / 1000, late_s=late_s)
    with SandboxThread(options) as url, tempfile.TemporaryDirectory(prefix="sms-runner-") as folder:
        secret = SecretStr(SANDBOX_SECRET)
        secrets = {"client_id": secret, "client_secret": secret, "refresh_token": secret}
        yield Setting(
            settings=settings.model_copy(update={"pod": None, "base_url": url, **secrets}),
            folders=Folders(slots=Path(folder) / "slots", tokens=Path(folder) / "tokens"),
        )


def read_ledger(settings: Settings) -> Ledger:
    """The org's ledger for looking at, which is safe while a run is going on.

    Raises:
        LedgerError: there is none yet, or it is none.
    """
    from runner.ledger.store import Ledger

    if not settings.ledger_path.exists():
        raise LedgerError(
            f"There is no ledger {settings.ledger_path} yet.",
            remedy="It is made by the first `sms-runner send`; or name another by --ledger.",
        )
    return Ledger.open(settings.ledger_path, org=settings.org, read_only=True)


def chosen_batch(ledger: Ledger, batch_id: int | None) -> BatchInfo:
    """The batch of that number, or the newest.

    Raises:
        LedgerError: there is none.
    """
    if batch_id is not None:
        return ledger.batch(batch_id)
    newest = ledger.newest()
    if newest is None:
        raise LedgerError("The ledger holds no batch yet.", remedy="`sms-runner send FILE` makes one.")
    return newest
