"""Standard output in an encoding that lacks our signs (Windows' cp1252, ASCII): others stand for them."""

import codecs
import io
from typing import TextIO

PLAIN = str.maketrans({
    "↑": "^", "↓": "v", "→": "->", "−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "≥": ">=", "≤": "<=", "…": "...",
    "·": ".", "α": "a", "\N{NO-BREAK SPACE}": " ", "│": "|", "─": "-",
})  # fmt: skip


def write_anywhere(*streams: TextIO) -> None:
    """Let streams write any text: signs that their encoding lacks are replaced by similar ones, or by a question
    mark."""
    codecs.register_error("nextone-plain", _plain)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nextone-plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: (what to write instead, where to go on)."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    return "".join(sign if sign.isascii() else "?" for sign in text), error.end
