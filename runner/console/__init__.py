"""The command line, its prompts and progress: the only room that prints.

Imports are made where they are used, so that `--help` needs neither pandas nor SQLAlchemy nor aiohttp.
"""
