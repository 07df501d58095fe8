"""Texts from outside, such as names of files and classes, made safe to show and to store on one line."""

import codecs
import json
import re

# Control characters, line breaks, characters that turn the direction of a text, and halves of characters, as Python
# gives them for names of files that are not UTF-8. A terminal would obey them; XML and UTF-8 have no place for some.
_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
_IN_A_CELL = re.compile(f"[{_UNPRINTABLE}]")
_IN_A_MESSAGE = re.compile(rf"(?!\n)[{_UNPRINTABLE}]")
_IN_A_FIELD = re.compile(rf"[\\{_UNPRINTABLE}]")
_ESCAPED = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u(?!d[89a-f])[0-9a-f]{4})")


def printable(text: str) -> str:
    r"""A text of one line to show: what cannot be printed is visible, such as `\x1b` or `\n`."""
    return _IN_A_CELL.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """As `printable`, for a message that may have several lines."""
    return _IN_A_MESSAGE.sub(_escaped, text)


def in_utf8(text: str) -> str:
    r"""The text, with bytes of a file name that are not UTF-8 as `\udce9`: no file and no table can hold them."""
    return text.encode(errors="backslashreplace").decode()


def to_field(text: str) -> str:
    """A text to store on one line of a file; backslashes are doubled, so that `from_field` gives `in_utf8` of it."""
    return _IN_A_FIELD.sub(_escaped, in_utf8(text))


def to_json(content: object) -> str:
    """JSON that no terminal obeys; a list has one line per item."""
    if isinstance(content, list) and content:  # there may be very many, and Python indents slowly
        lines = ",\n".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in content)
        text = f"[\n{lines}\n]"
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return _IN_A_MESSAGE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


# For outputs whose encoding does not have a character: as JSON writes it, because the output may be JSON.
ESCAPES = "benchmark-escapes"
codecs.register_error(ESCAPES, _replaced)


def from_field(field: str) -> str:
    """The text that `to_field` stored."""
    return _ESCAPED.sub(lambda found: found[0].encode().decode("unicode_escape"), field)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
