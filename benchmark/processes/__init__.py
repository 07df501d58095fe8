"""Processes: workers, the executors that start them, and the runner that writes their rows."""
