"""The answer of `nextone sensitivity` as tables for the terminal."""

from collections.abc import Iterator

from rich.table import Table as Shown
from rich.text import Text

from .sensitivity_file import GAIN, HOW_TO_READ, Row, Table, answer_text, name_and_unit, range_text, span_text


def sensitivity_sentences(table: Table) -> list[str]:
    """The answer in words."""
    most = table.gains_depend_on(5)
    if not most:
        return ["No setting that was walked moves a gain by more than luck explains."]
    return [f"What the phone gains depends most on {', '.join(most)}.", *filter(None, [table.level_moves_most()])]


def sensitivity_tables(table: Table) -> Iterator[Shown]:
    """How far each setting that surely moves a gain moves the answers, then what the intervals of the answers
    contain."""
    yield _moves(table)
    yield _answers(table)


def _moves(table: Table) -> Shown:
    moving = [row for row in table.rows if row.size(table.names(GAIN))[0] > 0]
    level_alone = [row.setting for row in table.rows if row.sure and row not in moving]
    still = [row.setting for row in table.rows if not row.sure]
    without = [each.setting for each in table.not_walked]
    caption = f"{table.sizes()}. {HOW_TO_READ}"
    if level_alone:
        caption += f"\nOnly the level moves (--out says how far): {', '.join(level_alone)}."
    if still:
        caption += f"\nNo move of these settings can be told from 0: {', '.join(still)}."
    if without:
        caption += f"\nNot varied (--out says why): {', '.join(without)}."
    shown = Shown(title="What the answers depend on", title_justify="left", caption=Text(caption),
                  caption_justify="left")  # fmt: skip
    for heading in ("", "setting"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("low end\ndefault\nhigh end", justify="right")
    for answer in table.answers:
        shown.add_column(Text(f"move of\n{answer.name}"), justify="right")
    for rank, row in enumerate(moving, 1):
        shown.add_row(*_cells(rank, row))
        shown.add_section()
    return shown


def _cells(rank: int, row: Row) -> Iterator[Text]:
    yield Text(str(rank))
    yield Text(f"{row.setting}\n  {row.unit}".rstrip())
    yield Text("\n".join(_short(end) for end in (row.low, row.default, row.high)))
    for move in row.moves:
        yield Text(f"{span_text(move.at_low)}\n\n{span_text(move.at_high)}")


def _short(end: str) -> str:
    return end if len(end) <= 12 else end[:11] + "…"


def _answers(table: Table) -> Shown:
    caption = f"{table.scenario}. Draws: range of their central 95 %, and share of draws with the scenario's own sign."
    shown = Shown(title="The answers, by what their 95 % intervals hold", title_justify="left", caption=Text(caption),
                  caption_justify="left")  # fmt: skip
    shown.add_column("holds")
    for answer in table.answers:
        shown.add_column(Text(name_and_unit(answer)), justify="right")
    shown.add_row("luck and people", *map(answer_text, table.answers))
    for what in dict.fromkeys(each.what for each in table.drawn):
        of_kind = [each for each in table.drawn if each.what == what]
        shown.add_row(f"{of_kind[0].holds}, {of_kind[0].draws} draws", *map(range_text, of_kind))
    return shown
