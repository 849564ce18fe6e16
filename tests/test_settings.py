"""One org's configuration: what wins over what, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ConfigurationError
from runner.settings import MaxRejected, load_settings

TOML = 'org = "acme-eu"\npod = "6"\n[sending]\nmax_concurrent = 4\ntimeout_seconds = 20\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "acme-eu.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN", "SENDING__MAX_CONCURRENT", "LEDGER"):
        monkeypatch.delenv(f"SMS_RUNNER_{name}", raising=False)


def test_the_environment_wins_over_the_file_key_by_key(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_CONCURRENT", "7")
    sending = load_settings(config).sending
    assert (sending.max_concurrent, sending.timeout_seconds, sending.settle_seconds) == (7, 20, 30)


def test_an_override_wins_over_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMS_RUNNER_LEDGER", "environment.db")
    assert load_settings(config, overrides={"ledger": tmp_path / "flag.db"}).ledger_path == tmp_path / "flag.db"


def test_a_relative_ledger_is_beside_the_configuration(config: Path) -> None:
    assert load_settings(config).ledger_path == config.parent / "acme-eu.ledger.db"


def test_a_base_url_in_the_environment_takes_the_place_of_the_files_pod(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMS_RUNNER_BASE_URL", "http://127.0.0.1:8180")
    settings = load_settings(config)
    assert (settings.pod, settings.base_url) == (None, "http://127.0.0.1:8180")


def test_a_misspelt_variable_is_refused_by_name(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_RUNNER_LEDGR", "x.db")
    with pytest.raises(ConfigurationError, match="SMS_RUNNER_LEDGR") as refused:
        load_settings(config)
    assert "LEDGER" in str(refused.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("max_concurrent = 11", "sending.max_concurrent = 11"),
        ("max_concurrent = 0", "sending.max_concurrent = 0"),
        ("max_rejected = 'many'", "sending.max_rejected"),
        ("max_conc = 3", "sending.max_conc"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(config: Path, line: str, told: str) -> None:
    config.write_text(f'org = "a"\npod = "6"\n[sending]\n{line}\n', encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        load_settings(config)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://api.example.com", "ftp://127.0.0.1", "https://user:word@api.example.com", "https://a/?x=1"]
)
def test_an_address_that_would_leak_the_token_is_refused(config: Path, address: str) -> None:
    config.write_text(f'org = "a"\nbase_url = "{address}"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="base_url"):
        load_settings(config)


def test_a_secret_in_the_file_is_refused_and_not_repeated(config: Path) -> None:
    config.write_text(TOML.replace("[sending]", 'client_secret = "hush-hush"\n[sending]'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="client_secret") as refused:
        load_settings(config)
    assert "hush-hush" not in str(refused.value)


def test_a_secret_can_come_from_a_file_and_is_never_shown(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("hush-hush\n", encoding="utf-8")
    monkeypatch.setenv("SMS_RUNNER_CLIENT_ID_FILE", str(tmp_path / "id"))
    settings = load_settings(config)
    assert settings.client_id is not None
    assert settings.client_id.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings)
    with pytest.raises(ConfigurationError, match="SMS_RUNNER_CLIENT_SECRET and SMS_RUNNER_REFRESH_TOKEN"):
        settings.credentials()


@pytest.mark.parametrize(
    ("limit", "rejected", "outcomes", "exceeded"),
    [
        ("20%", 21, 100, True),
        ("20%", 20, 100, False),
        ("20%", 99, 99, False),
        ("5", 6, 6, True),
        ("5", 5, 5, False),
        ("0", 1, 1, True),
    ],
)
def test_max_rejected_is_a_number_or_a_share_that_counts_from_100_outcomes_on(
    limit: str, rejected: int, outcomes: int, *, exceeded: bool
) -> None:
    threshold = MaxRejected.model_validate(limit)
    assert threshold.exceeded(rejected=rejected, outcomes=outcomes) is exceeded
    assert str(threshold) == limit
