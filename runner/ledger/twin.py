"""The same file sent again: is the batch being staged the one that is there already?

While staging, jobs that the newest batch of the same file name owns at the same row are left where they are. At the
end the two are compared: when the file's bytes, its columns and every row with its job and problems are the same, the
new batch is dropped and the old one stands for it, so that `send FILE` twice is `send FILE` once. Otherwise the jobs
left behind are fetched over. Either way it costs two passes over keys and no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, exists, or_, select, update

from runner.ledger.schema import BATCHES, IS_IN_DOUBT, IS_PENDING, JOBS, ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """The newest batch of the same file name and columns."""

    batch_id: int
    digest: str
    row_count: int

    @classmethod
    def find(
        cls, connection: Connection, *, name: str, headers: str, other_columns: str, attributes: str
    ) -> Twin | None:
        """The newest batch of this file name, if its columns are these too (as the JSON texts that are kept)."""
        newest = connection.execute(
            select(BATCHES).where(BATCHES.c.name == name).order_by(BATCHES.c.id.desc()).limit(1)
        ).one_or_none()
        if newest is None or (newest.headers, newest.other_columns, newest.attributes) != (
            headers,
            other_columns,
            attributes,
        ):
            return None
        return cls(batch_id=newest.id, digest=newest.digest, row_count=newest.row_count)

    def is_same(self, connection: Connection, *, batch_id: int, digest: str, row_count: int) -> bool:
        """Whether the batch being staged says nothing that this one does not say."""
        if (self.digest, self.row_count) != (digest, row_count):
            return False
        new, old = ROWS.alias("new"), ROWS.alias("old")
        told_by_both = ("job_id", "others", "cells", "problems")
        differing = (
            select(new.c.row)
            .select_from(new.outerjoin(old, (old.c.batch_id == self.batch_id) & (old.c.row == new.c.row)))
            .where(
                new.c.batch_id == batch_id,
                or_(old.c.row.is_(None), *(new.c[name].is_distinct_from(old.c[name]) for name in told_by_both)),
            )
            .limit(1)
        )
        return connection.execute(differing).first() is None

    def replace(self, connection: Connection, *, batch_id: int) -> None:
        """Drops the batch being staged, whose rows are the same; jobs that went over to it come here."""
        for unfinished in (IS_PENDING, IS_IN_DOUBT):
            connection.execute(
                update(JOBS).where(JOBS.c.batch_id == batch_id, unfinished).values(batch_id=self.batch_id)
            )
        connection.execute(delete(ROWS).where(ROWS.c.batch_id == batch_id))
        connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id))

    def hand_over(self, connection: Connection, *, batch_id: int) -> None:
        """Gives the batch being staged those unfinished jobs that it has at the same row."""
        same_place = exists(
            select(ROWS.c.row).where(ROWS.c.batch_id == batch_id, ROWS.c.row == JOBS.c.row, ROWS.c.job_id == JOBS.c.id)
        )
        for unfinished in (IS_PENDING, IS_IN_DOUBT):
            connection.execute(
                update(JOBS).where(JOBS.c.batch_id == self.batch_id, unfinished, same_place).values(batch_id=batch_id)
            )
