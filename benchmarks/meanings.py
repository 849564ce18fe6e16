"""The page's prose: what was done, and what each number means."""

from __future__ import annotations

from typing import Final

INTRODUCTION: Final = """\
The API allows ten requests at a time, so speed means two things: no slot is ever idle while jobs wait, and the work
around a request costs so little that one small machine serves many orgs. Each line below compares the runner with
something else in the same run, and says what was asked for and what was reached. This page is written by
`python -m benchmarks.run --publish`; the numbers behind it are in `benchmarks/results.json`."""

HOW: Final = """\
`benchmarks/setup.sh` installs the peers, `python -m benchmarks.run` measures. Every side is a program of its own,
started as people start it. The two sides of a comparison take turns; a ratio is the median of the ratios of
neighbouring runs, since a machine that others use too is faster in one minute than in the next. *From … to* are the
lowest and the highest of these ratios.

Processor time and memory come from the operating system (`wait4`): user and system time of the program and of all it
started; the peak of its largest process. The server is a stub that answers from memory, on the same machine and
therefore on one of its cores; *stub-rate* shows that it is never what limits. It counts sends, so a side that sent too
few or too many is an error and no result; of the runner and the bare loop it compares the bytes as well. Every run of
the runner begins with a ledger that does not exist, on a disk, with its fsync.

Rates are those of sending: sends divided by the time from the first send's arrival at the stub to its last answer. What
whole programs take, from start to exit, is told beside."""

MEANINGS: Final[dict[str, str]] = {
    "stub-rate": "The load tool drives the stub this much faster than the fastest client here does.",
    "slot-use": """\
One is perfect: ten slots, each with a request at every moment. The latency is the one the stub measured, since timers
make 50 ms some tenths longer; the figure against exactly 50 ms stands below. What is lost is the time from an answer's
arrival to the next request's departure: two processes have to be woken, and the code that runs then has left the
processor's caches. The bare loop, which does nothing but post, loses most of it in the same minutes (below); a load
tool written in C loses a sixth of that.""",
    "cpu-per-send": """\
What the promises cost: claims and outcomes on disk, slots shared between processes, tokens, every answer read and
decided on. Both sides run with few jobs and with many, and the difference is divided by the difference of jobs, so that
starting Python and reading modules are not counted; checking, staging and writing the results are.

The layers below are the same posts through more and more of the runner. The post is aiohttp's own. The send loop is
Python for each job: worklist, slot, decision, breakers, the result as a value. The ledger writes each job twice,
before and after its request: two updates of its row and of two indexes, the log they are written to, the fsync, and
the values on both sides of it. A quarter of a post would pay for one of the two layers, not for both.""",
    "throughput-bare": """\
How fast it can go when the server costs nothing. A real server is the limit long before: at 50 ms a send, ten slots
allow 200 sends a second.""",
    "throughput-one-hour": """\
The script has no ledger, no checks and no retry, and its results are lost if it dies. Its reading of the file and
writing of the results are outside of the rate, as the runner's are; the ratio of whole programs stands below. The
target is out of reach of any loop over aiohttp: the bare one, which only posts, is not twice as fast as the script.""",
    "throughput-parallel": "A process and a connection for each job.",
    "throughput-newman": "One request at a time, as Newman does; it has no way to send ten.",
    "check-time": """\
Reading is what cannot be saved; the rest is every documented rule and guard on every cell, and finding repeated names
in the whole file. Both are whole programs, their imports included.""",
    "check-memory": "The most memory a check has at any moment.",
    "check-memory-tenfold": "The same for a file ten times as long.",
    "check-memory-growth": "One means that memory does not depend on the length of the file.",
    "stage-time": """\
All rows in the ledger, in one transaction that is on disk at the end, beside looking at them. A chunk is inserted while
the next is checked, so what is left is SQLite keeping four trees in order: jobs, their names, those that are pending,
and the rows of the batch. That alone takes longer than the target allows (below), because the check has become cheaper
than the target supposed.""",
    "resume": """\
A batch goes on without its file. Finding the next pending jobs must not depend on how many are done. No job is in doubt
here, so there is nothing to wait for; a run that was killed waits for settle first.""",
    "export-csv": """\
The frame exists in memory already and only its writing is timed; the runner's time is that of the whole command, which
reads a million jobs out of the ledger first.""",
    "export-parquet": """\
As above. Parquet is written so fast that reading is most of it: each of a row's twenty cells becomes a Python object on
its way out of SQLite, a tenth of a microsecond each, which alone (below) is several times what the target allows.""",
    "export-csv-memory": "One means that memory does not depend on the number of results.",
    "export-parquet-memory": "One means that memory does not depend on the number of results.",
    "help": "What someone waits who only wants to know a flag's name.",
    "first-send": """\
From the start of the process to the moment its first send arrives at the stub. The imports are those of a traced run
(`-X importtime`), by package and each module's own time, scaled to the untraced time because tracing slows them. They
are what stands in the way: twelve hundred modules, loaded with the collector at rest.""",
    "growth": """\
Each point is a whole program. Few jobs pay for the start of Python and its modules; from some ten thousand on the line
must be level, which is to say that a job costs the same in a big file and in a small one, and memory must not rise.""",
}
