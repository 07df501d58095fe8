"""The command line: the only part that prints or exits.

Whatever costs time to import is imported inside the commands, so that `--help` is quick.
"""

from benchmark.cli.app import main

__all__ = ["main"]
