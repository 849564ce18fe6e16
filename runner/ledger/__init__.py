"""What was intended and what happened, durably: the one place the runner's promises are kept in.

Nothing is imported here, so that a command which needs no ledger does not pay for SQLAlchemy (a third of a second).
`store` is the way in; `results` writes a batch out.
"""
