"""The ledger's tables.

A job is keyed by its `message_name`, whatever file it came from; `rows` says which job stands in which row of which
batch, and keeps the rows that are no job. A job is *owned* by one batch, `jobs.batch_id` and `jobs.row`: the newest
that staged it while it was unfinished, whose runs will send it. So a batch's books are its rows joined with the jobs,
and what is left to do for it are the jobs it owns.

Indexes cost at every insert, so there is one for the names and two small ones for the jobs that are not finished;
these shrink to nothing as a batch is sent. Text is kept as text and times as epoch milliseconds, so that the file can
be read with any SQLite tool, and by PostgreSQL's types later.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    literal_column,
)

from runner.ledger.sqlite import CLUSTERED, KEY, partial
from runner.model import ATTRIBUTES, JobState

SCHEMA_VERSION: Final = 1
"""Raised whenever a ledger of the earlier version could be misread."""

PAYLOAD: Final = tuple(ATTRIBUTES.values())
"""The columns that go to the API; two jobs of one name are the same job when these are equal."""

LAST_ATTEMPT: Final = ("send_id", "scenario", "http_status", "message", "evidence", "finished_at", "latency_ms")
"""Columns of a job that say nothing any more once it is pending again; its attempts go on counting."""

METADATA: Final = MetaData()

AT_COMMIT: Final[dict[str, Any]] = {"deferrable": True, "initially": "DEFERRED"}
"""For a foreign key that is checked at the commit. One that is checked at once may make a statement fail that has
changed many rows, so SQLite keeps a copy of each page such a statement changes, which doubles what an insert costs."""

LEDGER_INFO: Final = Table(
    "ledger_info",
    METADATA,
    Column("schema_version", Integer, nullable=False),
    Column("org", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)
"""One row."""

BATCHES: Final = Table(
    "batches",
    METADATA,
    Column("id", KEY, primary_key=True),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("headers", Text, nullable=False),  # JSON array, in the file's order
    Column("other_columns", Text, nullable=False),  # JSON array: the headers that are no attribute
    Column("attributes", Text, nullable=False),  # JSON object: attribute -> header
    Column("row_count", BigInteger, nullable=False),  # as counted while staging, so that the books can be checked
)

RUNS: Final = Table(
    "runs",
    METADATA,
    Column("id", KEY, primary_key=True),
    Column("batch_id", KEY, ForeignKey("batches.id", **AT_COMMIT), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("alive_at", BigInteger, nullable=False),
    Column("settle_s", Float, nullable=False),
    Column("ended_at", BigInteger),
    Column("end_reason", Text),
    Column("exit_code", Integer),
)

JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("id", KEY, primary_key=True),
    # First, as every count of a batch reads it, and SQLite finds a column by walking over those before it.
    Column("state", Text, nullable=False),
    Column("batch_id", KEY, ForeignKey("batches.id", **AT_COMMIT), nullable=False),
    Column("row", BigInteger, nullable=False),
    Column("published_message_id", Text, nullable=False),
    Column("message_name", Text, nullable=False, unique=True),
    Column("contact_source_id", BigInteger),
    Column("external_system_name", Text),
    Column("external_system_reference_id", Text),
    Column("scheduled_date", Text),
    Column("pre_blocking_hours", Integer),
    Column("folder", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("send_id", Text),
    Column("scenario", Text),
    Column("http_status", Integer),
    Column("message", Text),
    Column("evidence", Text),
    Column("first_attempt_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("latency_ms", Float),
    Column("doubt_since", BigInteger),  # null: no attempt of a recorded kind is in doubt
    Column("run_id", KEY, ForeignKey("runs.id", **AT_COMMIT)),  # who claimed it last
)

ROWS: Final = Table(
    "rows",
    METADATA,
    Column("batch_id", KEY, ForeignKey("batches.id", **AT_COMMIT), primary_key=True),
    Column("row", BigInteger, primary_key=True),
    Column("job_id", KEY, ForeignKey("jobs.id", **AT_COMMIT)),  # null: the row is invalid
    Column("others", Text),  # JSON array: the cells of the other columns
    Column("cells", Text),  # JSON object: an invalid row's cells by header
    Column("problems", Text),  # JSON array of objects: why it is invalid
    **CLUSTERED,
)

HISTORY: Final = Table(
    "history",
    METADATA,
    Column("id", KEY, primary_key=True),
    Column("job_id", KEY, ForeignKey("jobs.id", **AT_COMMIT), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("what", Text, nullable=False),  # edited, retried, doubt
    Column("detail", Text, nullable=False),  # JSON object: what the job was before
)

# A database uses these only for a query that spells the state out, as a bound value could be any state.
IS_PENDING: Final = JOBS.c.state == literal_column(f"'{JobState.PENDING.value}'")
IS_IN_DOUBT: Final = JOBS.c.state == literal_column(f"'{JobState.IN_DOUBT.value}'")

Index("jobs_pending", JOBS.c.batch_id, JOBS.c.row, **partial(IS_PENDING))
Index("jobs_in_doubt", JOBS.c.batch_id, JOBS.c.row, **partial(IS_IN_DOUBT))
