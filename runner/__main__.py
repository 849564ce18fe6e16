"""`python -m runner` is `sms-runner`."""

from runner.console.app import main

main()
