"""Tables made to fit a screen, so that no name is cut and no number lost.

What does not fit is treated in this order: long texts become footnotes, columns are left out, texts are folded.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

# Blanks between two columns.
GAP = 2
# Columns whose long texts stand below the table where a screen has no room for them, the first of them first.
FOOTNOTED = ("Strategy", "Stages", "Augment", "Head options", "Head", "Reason", "Note")
# Texts up to this width are never made a footnote.
SHORT = 12
# Texts up to the first width stay whole while a column can be left out instead. In longer texts, names up to the second
# width stay whole.
LONGEST_WHOLE, LONGEST_NAME = 24, 48
# Texts are not folded to less.
FOLDED_LEAST = 8
# Where a line is broken: between words, else in paths and lists, else in names.
BREAKS = (
    re.compile(r"\s*\S+\s*"), re.compile(r"[^/,;]*[/,;]+\s*|[^/,;]+"), re.compile(r"[^_:=.-]*[_:=.-]+|[^_:=.-]+"),
)  # fmt: skip
# A word that is rather not broken.
_UNBROKEN = re.compile(r"[^\s/,;]+[/,;]?")


@dataclass(frozen=True)
class Fitted:
    """A table for a screen.

    Attributes:
        cells: The columns that are shown, by heading; a cell may have several lines.
        widths: Of these columns.
        left_out: The headings of the others.
        footnotes: Texts that cells refer to, such as `[1] theirs had other weights`.
    """

    cells: dict[str, list[str]]
    widths: dict[str, int]
    left_out: list[str]
    footnotes: list[str]

    @property
    def width(self) -> int:
        """Of the whole table."""
        return _width(self.widths)


def fit(
    columns: Mapping[str, Sequence[str]], numbers: Collection[str], screen: int, least_telling: Iterable[str] = ()
) -> Fitted:
    """The table for a screen of this width; only numbers and headings can make it wider.

    Args:
        columns: Texts by heading.
        numbers: The headings of columns that are never folded.
        screen: In characters.
        least_telling: The columns that may be left out, the first of them first.
    """
    if _width(_whole(columns)) <= screen:
        return Fitted({name: [*texts] for name, texts in columns.items()}, _whole(columns), [], [])
    shown, footnotes = _with_footnotes(columns, screen)
    left_out = []
    for name in least_telling:
        if _width(_readable(shown, numbers)) <= screen:
            break
        if name in shown:
            columns = {heading: texts for heading, texts in columns.items() if heading != name}
            shown, footnotes = _with_footnotes(columns, screen)
            left_out.append(name)
    widths = _folded(shown, numbers, screen)
    cells = {name: ["\n".join(fold(text, widths[name])) for text in texts] for name, texts in shown.items()}
    return Fitted(cells, widths, left_out, ["\n    ".join(fold(note, screen - 4)) for note in footnotes])


def fold(text: str, width: int) -> list[str]:
    """The lines of a text; see `BREAKS`."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for piece in (piece for word in BREAKS[0].findall(text) for piece in _pieces(word, width, BREAKS[1:])):
        if cell_len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _pieces(text: str, width: int, patterns: Sequence[re.Pattern[str]]) -> Iterator[str]:
    """The text in pieces of at most this width, by the first pattern that is fine enough."""
    if cell_len(text.rstrip()) <= width:
        yield text
    elif not patterns:
        yield from chop_cells(text, width)
    else:
        for piece in patterns[0].findall(text):
            yield from _pieces(piece, width, patterns[1:])


def _with_footnotes(columns: Mapping[str, Sequence[str]], screen: int) -> tuple[dict[str, list[str]], list[str]]:
    """The columns with long texts replaced, `finetune(0, epochs=5)` by `finetune [1]`, and these texts."""
    shown = {name: [*texts] for name, texts in columns.items()}
    numbers: dict[str, int] = {}
    for name in FOOTNOTED:
        if _width(_whole(shown)) <= screen:
            break
        if name in shown and max(map(cell_len, shown[name]), default=0) > LONGEST_WHOLE:
            shown[name] = [
                text
                if cell_len(text) <= SHORT
                else f"{_stem(text)} [{numbers.setdefault(text, len(numbers) + 1)}]".lstrip()
                for text in shown[name]
            ]
    return shown, [f"[{number}] {text}" for text, number in numbers.items()]


def _stem(text: str) -> str:
    """The name in `name(options)`."""
    found = re.match(r"(\w+)\(", text)
    return found[1] if found else ""


def _width(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _heading_width(name: str) -> int:
    return max(map(cell_len, name.split()), default=1)


def _whole(columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The widths at which nothing is folded but headings."""
    return {name: max([_heading_width(name), *map(cell_len, texts)]) for name, texts in columns.items()}


def _readable(columns: Mapping[str, Sequence[str]], numbers: Collection[str]) -> dict[str, int]:
    """The widths at which short texts are whole, and words of long ones."""
    widths = _whole(columns)
    for name in widths.keys() - set(numbers):
        longest_word = max((cell_len(word) for text in columns[name] for word in _UNBROKEN.findall(text)), default=0)
        widths[name] = min(widths[name], max(LONGEST_WHOLE, _heading_width(name), min(longest_word, LONGEST_NAME)))
    return widths


def _folded(columns: Mapping[str, Sequence[str]], numbers: Collection[str], screen: int) -> dict[str, int]:
    """The widths at which the table fits, if it can; the widest texts are folded first."""
    whole = _whole(columns)
    widths, widest = whole, max(whole.values(), default=0)
    while widest > FOLDED_LEAST and _width(widths) > screen:
        widest -= 1
        widths = {
            name: width if name in numbers else min(width, max(widest, _heading_width(name)))
            for name, width in whole.items()
        }
    return widths
