"""What is said of the files of a folder that are left out, of copies and of deep pixels: a short sentence each."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.datasets.files import Reason, path_text
from benchmark.datasets.scan import Scan

N_EXAMPLES = 3
# A file that nobody can have meant as one more image.
QUIET = (Reason.NO_IMAGE, Reason.SAME_FILE)
# Of these, the suffixes tell more than the names.
_BY_SUFFIX = (Reason.FORMAT, Reason.NO_IMAGE)


def examples(texts: Sequence[str]) -> str:
    """The first of some texts, in brackets."""
    return f"({', '.join(texts[:N_EXAMPLES])}{', …' if len(texts) > N_EXAMPLES else ''})"


def left_out_notes(root: Path, left_out: Mapping[Path, Reason], *, quiet: bool) -> tuple[str, ...]:
    """A note for each reason to leave files out, either the quiet ones or the others."""
    by_reason: dict[Reason, list[Path]] = defaultdict(list)
    for path, reason in left_out.items():
        by_reason[reason].append(path)
    return tuple(
        f"left out, {reason}: {len(by_reason[reason]):,} {_details(root, reason, by_reason[reason])}"
        for reason in Reason
        if reason in by_reason and (reason in QUIET) == quiet
    )


def _details(root: Path, reason: Reason, paths: list[Path]) -> str:
    if reason in _BY_SUFFIX:
        counts = Counter(path.suffix.lower() or path.name for path in paths)
        return examples([f"{path_text(suffix)} {count:,}" for suffix, count in counts.most_common()])
    return examples([path_text(path.relative_to(root)) for path in paths])


def depth_notes(scans: Iterable[Scan], shift: int) -> tuple[str, ...]:
    """What is assumed of images with 16 bits per value; `shift` is the number of bits that grey loses."""
    scans = list(scans)
    tops = [scan.grey_top for scan in scans if scan.grey_top is not None]
    n_colour = sum(scan.is_wide_colour for scan in scans)
    grey = f"16-bit grey images: {len(tops):,}, values up to {max(tops, default=0):,}, divided by {2**shift} to 8 bits"
    colour = f"16-bit colour images: {n_colour:,}, only the upper 8 bits are read"
    return (*([grey] if tops else []), *([colour] if n_colour else []))
