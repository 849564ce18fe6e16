"""What the runner costs, measured beside what else one could use: `python -m benchmarks.run`."""
