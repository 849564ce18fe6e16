"""Where a benchmark works and how the programs under measurement are called."""

from __future__ import annotations

import itertools
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.jobfiles import job_file
from benchmarks.processes import Cost, NotMeasuredError, run
from benchmarks.stub_process import Seen, StubProcess

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / "benchmarks" / "peers"
LABEL: Final = "runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One program's run over a job file, and what the stub saw of it."""

    jobs: int
    cost: Cost
    seen: Seen

    @property
    def first_send_s(self) -> float:
        """From the start of the process to its first send at the server."""
        return (self.seen.first_send_ns - self.cost.started_ns) / 1e9


@dataclass(slots=True, kw_only=True)
class Bench:
    """One run of the benchmarks: its folder, and how thorough it is."""

    work: Path
    """For job files, ledgers and results; on a real disk, since a ledger's fsync is part of what is measured."""
    tools: Path
    """Where `setup.sh` has put newman."""
    quick: bool
    """Small sizes and few repeats: to see that everything works, not to learn how fast it is."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def pick(self, full: int, quick: int) -> int:
        """A size or a number of repeats."""
        return quick if self.quick else full

    def jobs(self, rows: int) -> Path:
        """A job file of that many rows."""
        return job_file(self.work, rows)

    def fresh(self, suffix: str) -> Path:
        """A name in the work folder that nothing has yet."""
        return self.work / f"run-{next(self._numbers)}{suffix}"

    def clear(self) -> None:
        """Delete what runs have left; job files stay."""
        for path in self.work.glob("run-*"):
            path.unlink()

    # The runner.

    @property
    def env(self) -> dict[str, str]:
        """The environment of the runner: made-up secrets, and caches and locks in the work folder."""
        return {
            "PYTHONPATH": str(ROOT),
            "SMS_RUNNER_CLIENT_ID": "bench",
            "SMS_RUNNER_CLIENT_SECRET": "bench",
            "SMS_RUNNER_REFRESH_TOKEN": "bench",
            "XDG_CACHE_HOME": str(self.work / "cache"),
            "XDG_STATE_HOME": str(self.work / "state"),
        }

    @property
    def runner_program(self) -> list[str]:
        """The installed command, as people start it."""
        return [str(Path(sys.executable).with_name("sms-runner"))]

    def runner(
        self, *arguments: str | Path, accepted: tuple[int, ...] = (0,), env: dict[str, str] | None = None
    ) -> Cost:
        """Run `sms-runner` with these arguments."""
        command = [*self.runner_program, *map(str, arguments)]
        return run(command, folder=self.work, env=self.env | (env or {}), accepted=accepted)

    def config(self, stub: StubProcess | None) -> Path:
        """A configuration for the stub; without one, for an address nobody asks."""
        path = self.work / "bench.toml"
        url = stub.url if stub is not None else "http://127.0.0.1:9"
        path.write_text(f'org = "bench"\nbase_url = "{url}"\nledger = "bench.ledger.db"\n', encoding="utf-8")
        return path

    def send(
        self, stub: StubProcess, rows: int, *, latency_ms: float = 0.0, env: dict[str, str] | None = None
    ) -> Sending:
        """`sms-runner send` of a file with that many rows, with a ledger that does not exist yet."""
        ledger, results = self.fresh(".ledger.db"), self.fresh(".results.csv")
        config, jobs = self.config(stub), self.jobs(rows)
        stub.reset(latency_ms=latency_ms)
        cost = self.runner("send", jobs, "--config", config, "--ledger", ledger, "--results", results, "--yes", env=env)
        found = self._complete(stub, rows, cost)
        self.clear()
        return found

    # The peers.

    def python(self, program: str, *arguments: str | Path) -> Cost:
        """Run a peer that is a Python program."""
        return run([sys.executable, str(PEERS / program), *map(str, arguments)], folder=self.work)

    def driver(self, module: str, *arguments: str | Path) -> Cost:
        """Run one of our own steps by itself."""
        command = [sys.executable, "-m", f"benchmarks.drivers.{module}", *map(str, arguments)]
        return run(command, folder=self.work, env=self.env)

    def bare_loop(self, stub: StubProcess, rows: int, *, latency_ms: float = 0.0) -> Sending:
        """The bare aiohttp loop."""
        jobs = self.jobs(rows)
        stub.reset(latency_ms=latency_ms)
        return self._complete(stub, rows, self.python("bare_loop.py", stub.url, jobs))

    def one_hour(self, stub: StubProcess, rows: int) -> Sending:
        """The developer's script."""
        jobs, results = self.jobs(rows), self.fresh(".csv")
        stub.reset()
        found = self._complete(stub, rows, self.python("one_hour.py", stub.url, jobs, results))
        self.clear()
        return found

    def parallel_curl(self, stub: StubProcess, rows: int) -> Sending:
        """GNU parallel with curl."""
        command = [str(PEERS / "parallel_curl.sh"), stub.url, str(self.jobs(rows))]
        stub.reset()
        return self._complete(stub, rows, run(command, folder=self.work))

    def newman(self, stub: StubProcess, rows: int) -> Sending:
        """Newman with the job file as its iteration data."""
        program = self.tools / "node_modules" / ".bin" / "newman"
        collection = PEERS / "newman_collection.json"
        data = ["--iteration-data", str(self.jobs(rows)), "--env-var", f"base={stub.url}"]
        stub.reset()
        cost = run([str(program), "run", str(collection), *data, "--silent"], folder=self.work)
        return self._complete(stub, rows, cost)

    def missing_tools(self) -> list[str]:
        """Programs that `setup.sh` would install and that are not there."""
        missing = [name for name in ("wrk", "parallel", "curl") if shutil.which(name) is None]
        newman = self.tools / "node_modules" / ".bin" / "newman"
        return missing if newman.exists() else [*missing, "newman"]

    def _complete(self, stub: StubProcess, rows: int, cost: Cost) -> Sending:
        seen = stub.seen()
        if seen.sends != rows:
            raise NotMeasuredError(f"{rows} jobs, but {seen.sends} sends came")
        return Sending(jobs=rows, cost=cost, seen=seen)
