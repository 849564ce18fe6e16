"""Small programs that do one step of the runner and nothing else, so that the step can be measured as a process."""
