"""Numbers as a report says them."""

MISSING_VALUE = "–"
# Keeps a number and its unit on one line.
NBSP = "\u00a0"


def percent(share: float) -> str:
    """A share in percent, to a tenth: `89.8 %`."""
    return f"{100 * share:.1f}{NBSP}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, to a tenth: `9.7 points`."""
    return f"{100 * difference:.1f}{NBSP}points"


def between(low: float, high: float) -> str:
    """An interval in percent: `89.2 to 90.3 %`."""
    return f"{100 * low:.1f} to {100 * high:.1f}{NBSP}%"


def millions(count: float) -> str:
    """A number of parameters: `2.59 M`."""
    return f"{count / 1e6:.2f}{NBSP}M"


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `12.5 min`, `3.1 h`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}{NBSP}{unit}"
    return f"{seconds:.3g}{NBSP}s"
