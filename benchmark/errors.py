"""Errors that a user can fix: every message says what was wrong, what was expected and what to do."""

import difflib
from collections.abc import Collection, Iterable, Sequence

# Names that a message lists; of more, it shows the nearest.
MOST_SHOWN = 100


class BenchmarkError(Exception):
    """Something that the user can fix; shown without a traceback.

    `error_type` is the value of that column in the ledger when the error ends a cell.
    """

    error_type = "invalid"


class ConfigError(BenchmarkError):
    """A registry or recipe file, or an option, with wrong content."""


class UnknownNameError(BenchmarkError):
    """A name that is not among the known ones."""

    error_type = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(kind, name, sorted(known))

    def __str__(self) -> str:
        kind, name, known = self.args
        if len(known) > MOST_SHOWN:
            nearest = difflib.get_close_matches(name, known, n=5, cutoff=0.0)
            return f"Unknown {kind} {name!r}. The nearest of {len(known):,} known ones: {', '.join(nearest)}."
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known)}."


def some_of(names: Sequence[str], shown: int = 5) -> str:
    """The first of some names, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def check_known(kind: str, name: str, known: Collection[str]) -> None:
    """Refuse a name of some kind that is not among the known ones.

    Raises:
        UnknownNameError: It is not.
    """
    if name not in known:
        raise UnknownNameError(kind, name, known)


def check_at_least(what: str, number: float | None, least: float) -> None:
    """Refuse a number that is smaller, or not a number; None is none to refuse.

    Raises:
        BenchmarkError: It is.
    """
    if number is not None and not number >= least:
        raise BenchmarkError(f"{what} must be at least {least:g}, got {number:g}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the host or of a device."""
    # TensorFlow's type by name, so that processes without TensorFlow need not import it.
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


class DownloadError(BenchmarkError):
    """Weights or data that could not be downloaded."""

    error_type = "download"


class WeightsError(BenchmarkError):
    """A weights file that does not fit its backbone or its checksum."""

    error_type = "weights"


class DataError(BenchmarkError):
    """A dataset that cannot be used as it is."""

    error_type = "bad_data"


class FeaturesError(BenchmarkError):
    """Features, or the weights that make them, that are not finite numbers."""

    error_type = "nan_features"


class LedgerError(BenchmarkError):
    """A ledger that cannot be read or written."""

    error_type = "ledger"
