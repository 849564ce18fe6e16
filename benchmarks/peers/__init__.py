"""What the runner is compared with; each is a program of its own that knows nothing of the runner."""
