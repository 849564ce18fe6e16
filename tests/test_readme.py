"""The README is compared with the code, and its example is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
from console.console_desk import ROOT, desk_environment
from pydantic import BaseModel

from runner.batch.stops import Breakers
from runner.console.app import app
from runner.errors import ExitCode
from runner.ledger.columns import RESULT_COLUMNS
from runner.model import ATTRIBUTES, EXTERNAL_FIELD_LIMIT, JobState
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread
from runner.settings import API_MAX_CONCURRENT, SECRET_VARIABLES, Settings, load_settings

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES: Final = sorted((ROOT / "runner").rglob("*.py"))
CONFIGS: Final = sorted((ROOT / "configs").glob("*.toml"))
COMMANDS: Final[dict[str, Any]] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # it is a group

MENTION: Final = re.compile(r"sms-runner ([a-z]+)((?: [^`\n#]*)?)")


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fenced(language: str, text: str = README) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def table_of(text: str) -> list[list[str]]:
    """The rows of all tables in the text, without heads and rules."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for at, row in enumerate(rows) if not set(row[0]) <= set("-: ") and not _is_head(rows, at)]


def _is_head(rows: list[list[str]], at: int) -> bool:
    return at + 1 < len(rows) and set(rows[at + 1][0]) <= set("-: ")


def flags_of(command: str) -> set[str]:
    """The flags of a command, as it would take them."""
    return {option for parameter in COMMANDS[command].params for option in parameter.opts if option.startswith("-")}


def test_the_command_table_is_the_commands_there_are() -> None:
    told = [cells[0].strip("`").removeprefix("sms-runner ").split()[0] for cells in table_of(section("Commands"))]
    assert [name for name in told if name in COMMANDS or not name.isdecimal()] == list(COMMANDS)


def test_the_exit_code_table_is_that_of_the_code() -> None:
    told = {int(cells[0]): cells[1] for cells in table_of(section("Commands")) if cells[0].isdecimal()}
    source = (ROOT / "runner" / "errors.py").read_text(encoding="utf-8")
    meant = dict(re.findall(r'^    ([A-Z_]+) = \d+\n    """(.*)"""$', source, re.MULTILINE))
    assert told == {int(code): meant[code.name] for code in ExitCode}


def mentions() -> list[tuple[str, str, str]]:
    """Every command that the README, an error or a help text names, and what stands behind it."""
    texts = {"README.md": README} | {path.name: path.read_text(encoding="utf-8") for path in SOURCES}
    return [
        (where, command, rest)
        for where, text in texts.items()
        for command, rest in MENTION.findall(text)
        if not (where.endswith(".py") and command in {"does", "is"})
    ]


def test_no_text_names_a_command_or_a_flag_that_is_not_there() -> None:
    wrong = []
    for where, command, rest in mentions():
        if command not in COMMANDS:
            wrong.append(f"{where}: {command}")
            continue
        named = set(re.findall(r"(?<![\w-])--[a-z-]+", rest))
        wrong += [f"{where}: {command} {flag}" for flag in named - flags_of(command) - {"--help"}]
    assert wrong == []


def test_flags_that_the_readme_names_by_themselves_are_those_of_some_command() -> None:
    known = set().union(*map(flags_of, COMMANDS)) | {"--help", "--version"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) <= known


def test_make_targets_that_are_named_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    assert named
    assert named <= targets


def test_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"(?:configs|sample_csv|docs|demo)/[\w.-]*", README)) | {"CHANGELOG.md"}
    made_by_make = {name for name in named if name.startswith("demo/")}
    assert [name for name in named - made_by_make if not (ROOT / name).exists()] == []


def test_the_columns_of_a_job_file_and_of_the_results_are_told() -> None:
    told = re.findall(r"`(\w+)`", " ".join(cells[0] for cells in table_of(section("Send a file"))))
    assert sorted(told) == sorted(ATTRIBUTES)
    results = section("Results")
    order = [results.index(f"`{name}`") for name in RESULT_COLUMNS if f"`{name}`" in results]
    assert len(order) == len(RESULT_COLUMNS)
    assert order == sorted(order)
    assert {name for name in re.findall(r"`(\w+)`", results) if name in set(JobState)} == set(JobState)


def test_numbers_that_are_told_are_those_of_the_code() -> None:
    assert API_MAX_CONCURRENT == 10
    assert "at most ten requests" in README
    assert f"at most {EXTERNAL_FIELD_LIMIT:,} characters" in README
    assert Breakers.__module__ == "runner.batch.stops"


def test_variables_that_are_named_are_read() -> None:
    keys = _keys(Settings)
    for name in set(re.findall(r"SMS_RUNNER_[A-Z_]+[A-Z]", README)) - {"SMS_RUNNER_CONFIG"}:
        assert name in SECRET_VARIABLES or name.removeprefix("SMS_RUNNER_").lower().replace("__", ".") in keys, name
    assert all(name in README for name in SECRET_VARIABLES)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_load_and_have_credentials_when_secrets_are_set(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _only(monkeypatch, desk_environment(tmp_path))
    settings = load_settings(config)
    assert all(secret.get_secret_value() for secret in settings.credentials())
    assert settings.ledger_path.parent == config.parent


def test_the_example_has_every_key_and_its_values_are_the_defaults() -> None:
    text = (ROOT / "configs" / "example.toml").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)) | set(
        re.findall(r"^\[(\w+)\]", text, re.MULTILINE)
    )
    secrets = {"client_id", "client_secret", "refresh_token"}
    assert {key.rpartition(".")[2] for key in _keys(Settings)} - secrets <= named
    example = tomllib.loads(text)["sending"]
    from runner.settings import Sending  # noqa: PLC0415 - here only

    assert Sending(**example) == Sending()


def test_the_python_example_runs_as_it_stands(tmp_path: Path) -> None:
    (example,) = fenced("python", section("From Python"))
    options = SandboxOptions(latency_s=0)
    sandbox = SandboxThread(options)
    with sandbox as url:
        config = f'org = "acme"\nbase_url = "{url}"\n'
        (tmp_path / "sms-runner.toml").write_text(config, encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - the README's own code
            [sys.executable, "-c", example],
            cwd=tmp_path,
            env=desk_environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert sorted(send.message_name for send in sandbox.accepted()) == [
            f"Spring sale, store {store}" for store in (1001, 1002, 1003)
        ]
    assert "Spring sale, store 1003   sent" in re.sub(r" {3,}", "   ", done.stdout)
    assert done.stdout.startswith("0 Balance(rows=3, ")


def test_the_example_that_reads_results_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = fenced("python", section("Results"))
    (tmp_path / "campaign.results.csv").write_text("row,id,store\n2,4396816,NA\n3,,x\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the README's own code
    assert names["results"]["id"].tolist() == ["4396816", ""]
    assert names["results"]["store"].tolist() == ["NA", "x"]


def _keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    """The keys of a configuration, those of its sections with a dot."""
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and name == "sending":
            keys |= _keys(inner, f"{name}.")
        else:
            keys.add(prefix + name)
    return keys


def _only(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name in os.environ:
        if name.startswith("SMS_RUNNER_"):
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
