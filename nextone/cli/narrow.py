"""Tables on narrow screens: where numbers would be broken or cut, a block of lines for each arm. Called by `common`."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

AROUND = 3  # columns of the screen that each column of a table takes beside its cells, and one more at the end


def fitted(table: Table, width: int) -> Iterator[Table | Text]:
    """The table, with cells of at most two lines; or, where `width` is too small for that, the same as blocks of lines.

    If rows have names (in the first columns, those without numbers), there is a block for each column of numbers; else
    one for each row."""
    columns = [[_text(column.header), *map(_text, column.cells)] for column in table.columns]
    room = width - AROUND * len(columns) - 1
    whole = [max(map(_width, cells)) for cells in columns]
    broken = [max(map(_in_two_lines, cells)) for cells in columns]
    least = [w if column.no_wrap else b for column, w, b in zip(table.columns, whole, broken, strict=True)]
    if sum(least) <= room:
        _share_out(table.columns, least, whole, room)
        yield table
        return
    yield from _around(table.title, "bold")
    names = next((k for k, column in enumerate(table.columns) if column.justify == "right"), len(columns))
    if 0 < names < len(columns):
        labels = _labels(columns[:names])
        for values in columns[names:]:
            yield from _block(labels, values, width)
    else:
        heads = [cells[0] for cells in columns]
        for row in range(1, len(columns[0])):
            yield from _block([Text(""), *heads], [Text(""), *(cells[row] for cells in columns)], width)
    yield from _around(table.caption, "dim")


def _width(text: Text) -> int:
    return cell_len(text.plain)


def _in_two_lines(text: Text) -> int:
    """The width that a text needs when it is broken once, at a space."""
    words = text.plain.split(" ")
    breaks = range(1, len(words) + 1)
    return min(max(cell_len(" ".join(words[:k])), cell_len(" ".join(words[k:]))) for k in breaks)


def _share_out(columns: Sequence[Column], least: list[int], most: list[int], room: int) -> None:
    """Give each column what it needs, and what is left to those that would be broken, the first ones first."""
    left = room - sum(least)
    for column, needed, whole in zip(columns, least, most, strict=True):
        more = min(left, whole - needed)
        column.width = needed + more
        left -= more


def _labels(columns: list[list[Text]]) -> list[Text]:
    """The names of the rows as one text each; a name that stands for several rows is repeated."""
    labels, last = [], [Text("")] * len(columns)
    for cells in zip(*columns, strict=True):
        if len(columns) > 1:
            last = [cell if cell.plain else before for cell, before in zip(cells, last, strict=True)]
        else:
            last = list(cells)
        labels.append(Text(" ").join(last))
    return labels


def _block(labels: Sequence[Text], values: Sequence[Text], width: int) -> Iterator[Text]:
    """A heading, then a line for each row: its label, and its value at the right, below it where both do not fit."""
    yield Text("")
    if values[0].plain:
        yield Text(values[0].plain, style="bold")
    wide = min(width, max(_width(a) + 2 + _width(b) for a, b in zip(labels, values, strict=True)))
    for label, value in zip(labels[1:], values[1:], strict=True):
        gap = wide - _width(label) - _width(value)
        if not value.plain:
            yield label
        elif gap >= 2:
            yield Text.assemble(label, " " * gap, value)
        else:
            yield label
            yield Text.assemble(" " * max(wide - _width(value), 0), value)


def _around(text: object, style: str) -> Iterator[Text]:
    if text:
        yield Text("")
        yield Text(_text(text).plain, style=style)


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell or ""))
