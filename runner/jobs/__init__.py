"""A job file becomes checked jobs: `checks.FileCheck` for files, `checks.check_jobs` for jobs a program makes.

Nothing is imported here on purpose: pandas and pyarrow cost half a second, and a command that reads no
file must not pay for them. Import from `runner.jobs.checks`.
"""
