"""Several runs of one org on one machine share its ten: never more together, and each has its part."""

from __future__ import annotations

import signal
from collections import Counter

from chaos.chaos_ground import ORG, PATIENCE_S, Ground, accepted, broken_promises, job_names
from console.console_desk import GatedSandbox

from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

EACH = 150
OTHER = "other"
"""Another ledger of the same org, with a configuration of its own."""


def _both_under_way(sandbox: SandboxThread) -> Counter[str]:
    """How many sends each had accepted in the time when both were at work: first word of the name -> number."""
    ends = {word: [send.at for send in sandbox.accepted() if send.message_name.startswith(word)] for word in "AB"}
    begin, end = max(min(times) for times in ends.values()), min(max(times) for times in ends.values())
    return Counter(send.message_name[0] for send in sandbox.accepted() if begin <= send.at <= end)


def test_two_runs_share_the_ten_and_neither_starves(ground: Ground) -> None:
    with (sandbox := SandboxThread(SandboxOptions(latency_s=0.15))) as url:
        for name in (ORG, OTHER):
            ground.configure(url, name=name)
        runs = [
            ground.start("send", ground.jobs(EACH, file="a.csv", word="A"), "--yes"),
            ground.start("send", ground.jobs(EACH, file="b.csv", word="B"), "--yes", name=OTHER),
        ]
        assert [run.end().code for run in runs] == [0, 0]
        assert broken_promises(ground, sandbox, job_names(EACH, word="A")) == []
        assert broken_promises(ground, sandbox, job_names(EACH, word="B"), name=OTHER) == []
        assert sandbox.stats().refused == 0
        shares = _both_under_way(sandbox)
        print(shares)  # noqa: T201 - shown where the test fails
        assert min(shares.values()) > 0.3 * sum(shares.values()), "half each, but for the time of a beat"


def test_a_lower_limit_is_one_for_all_runs_together(ground: Ground) -> None:
    with (sandbox := SandboxThread(SandboxOptions(latency_s=0.1))) as url:
        for name in (ORG, OTHER):
            ground.configure(url, name=name, max_concurrent=4)
        runs = [
            ground.start("send", ground.jobs(60, file="a.csv", word="A"), "--yes"),
            ground.start("send", ground.jobs(60, file="b.csv", word="B"), "--yes", name=OTHER),
        ]
        assert [run.end().code for run in runs] == [0, 0]
        assert broken_promises(ground, sandbox, job_names(60, word="A"), at_most=4) == []
        assert broken_promises(ground, sandbox, job_names(60, word="B"), name=OTHER, at_most=4) == []
        assert set(_both_under_way(sandbox)) == {"A", "B"}


def test_the_slots_of_a_killed_run_pass_to_the_other_only_after_settle(ground: Ground) -> None:
    """The server works on the dead run's requests for most of that time, and would see more than ten."""
    with (sandbox := SandboxThread(SandboxOptions(latency_s=1.2, name_check="end"))) as url:
        for name in (ORG, OTHER):
            ground.configure(url, name=name, settle_seconds=1.5)
        first = ground.start("send", ground.jobs(50, file="a.csv", word="A"), "--yes")
        sandbox.until(lambda stats: stats.running == 10, within_s=PATIENCE_S)
        second = ground.start("send", ground.jobs(60, file="b.csv", word="B"), "--yes", name=OTHER)
        second.until(lambda: "B 5" in accepted(sandbox) and sandbox.stats().running == 10)
        assert first.kill()
        assert second.end().code == 0
        assert sandbox.stats().max_concurrent == 10
        assert sandbox.stats().refused == 0
        times = sorted(send.at for send in sandbox.accepted() if send.message_name.startswith("B"))
        assert any(later - earlier < 0.6 for earlier, later in zip(times, times[9:], strict=False)), (
            "in the end the other one uses all ten"
        )
        assert ground.call("resume", "--yes").code == 0
        assert broken_promises(ground, sandbox, job_names(50, word="A")) == []
        assert broken_promises(ground, sandbox, job_names(60, word="B"), name=OTHER) == []


def test_a_second_run_on_one_ledger_says_who_is_at_work_and_ends(ground: Ground) -> None:
    """Whatever it wants to do there; and the lock of a killed run is nobody's."""
    with (sandbox := GatedSandbox(SandboxOptions(latency_s=0), free=1)) as url:
        ground.configure(url)
        run = ground.start("send", ground.jobs(30), "--yes")
        sandbox.until(lambda stats: stats.running == 10, within_s=PATIENCE_S)
        for command in (["send", "jobs.csv", "--yes"], ["resume", "--yes"], ["retry", "--yes"]):
            said = ground.call(*command)
            assert said.code == 4
            assert "Another run is at work" in said.words
            assert f"process {run.pid}" in said.words
        assert sandbox.stats().requests["sendjobs"] == 10
        assert ground.call("show").code == 0, "looking on is allowed"
        assert run.kill()
        sandbox.open()
        assert ground.call("resume", "--yes").code == 0
        assert broken_promises(ground, sandbox, job_names(30)) == []


def test_four_runs_stopped_one_after_the_other_stay_within_the_ten(ground: Ground) -> None:
    """Stopped by SIGTERM, killed, or at their end: whoever leaves, the ten are never exceeded."""
    words = "ABCD"
    with (sandbox := SandboxThread(SandboxOptions(latency_s=0.1, name_check="end"))) as url:
        for word in words:
            ground.configure(url, name=word)
        runs = {
            word: ground.start("send", ground.jobs(80, file=f"{word}.csv", word=word), "--yes", name=word)
            for word in words
        }
        sandbox.until(lambda stats: stats.accepted >= 40, within_s=PATIENCE_S)
        assert runs["A"].kill()
        runs["B"].send(signal.SIGTERM)
        assert runs["B"].end().code == 143
        assert [runs[word].end().code for word in "CD"] == [0, 0]
        again = {word: ground.start("resume", "--yes", name=word) for word in "AB"}
        assert [again[word].end().code for word in "AB"] == [0, 0]
        for word in words:
            assert broken_promises(ground, sandbox, job_names(80, word=word), name=word) == []
        assert sandbox.stats().refused == 0
