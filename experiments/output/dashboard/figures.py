"""Figures as plotly.js reads them: plain dictionaries, made without plotly. They name no address and load nothing.

Colours and their order are those of all figures (`drawing.palette`), each with a marker of its own.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from nextone.experiments.output.drawing import GREY, INK, PALE, palette
from nextone.experiments.output.lanes import LANES
from nextone.experiments.output.timeline import Timeline

from .trainings import Curve, Training

Figure = dict[str, Any]
MARKS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "triangle-left")
BETTER_WORSE = [[0.0, "#b35806"], [0.25, "#f1a340"], [0.5, "#f7f7f7"], [0.75, "#74add1"], [1.0, "#2166ac"]]
"""Orange to blue, which colour-blind people can tell apart."""
DIM = "#8a8f99"


class Point(NamedTuple):
    """A number with its interval. told: the text shown when a pointer is over it."""

    label: str
    middle: float
    low: float
    high: float
    told: str
    colour: str
    mark: str
    filled: bool = True


class Series(NamedTuple):
    """Points along an axis, with intervals."""

    label: str
    x: Sequence[object]
    points: Sequence[Point | None]


class Square(NamedTuple):
    """A cell of a map."""

    value: float | None
    told: str
    number: int | None  # of the cell of the sweep; None where none was swept
    dim: bool
    mark: str


def css_colours(n: int) -> list[str]:
    """n colours for a browser."""
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in palette(n)]


def forest(points: Sequence[Point], title: str, x_title: str) -> Figure:
    """Intervals below each other, about zero."""
    traces = [
        {
            "type": "scatter", "mode": "markers", "x": [p.middle], "y": [p.label], "name": escape(p.label),
            "error_x": {"type": "data", "symmetric": False, "array": [p.high - p.middle],
                        "arrayminus": [p.middle - p.low], "color": p.colour, "thickness": 2},
            "marker": {"symbol": p.mark if p.filled else f"{p.mark}-open", "size": 11, "color": p.colour},
            "text": [escape(p.told)], "hovertemplate": "%{text}<extra></extra>", "showlegend": False,
        }
        for p in points
    ]  # fmt: skip
    x = axis(x_title) | {"zeroline": True, "zerolinecolor": INK, "zerolinewidth": 1.5}
    y = axis("") | {"type": "category", "autorange": "reversed"}
    return figure(traces, x, y, title, 110 + 44 * max(len(points), 1))


def map_of(
    squares: Sequence[Sequence[Square]], rows: Sequence[str], columns: Sequence[str], names: tuple[str, str], *,
    title: str, unit: str, diverging: bool, better_is_more: bool, grey_dominated: bool, here: tuple[int, int],
) -> Figure:  # fmt: skip
    """A map of two fields: rows and columns are their values, colour is the number. names: of the field downwards and
    of that across. here: the row and column that is framed."""
    values = [[s.value for s in line] for line in squares]
    base = {"type": "heatmap", "x": [escape(each) for each in columns], "y": [escape(each) for each in rows],
            "xgap": 2, "ygap": 2, "hoverongaps": False}  # fmt: skip
    traces: list[dict[str, Any]] = [
        base | _colours([v for line in values for v in line], diverging, better_is_more, "z") | {
            "z": values, "text": [[_lines(s.told) for s in line] for line in squares],
            "customdata": [[s.number for s in line] for line in squares], "hovertemplate": "%{text}<extra></extra>",
            "colorbar": _bar(unit),
        }
    ]  # fmt: skip
    if grey_dominated and any(s.dim for line in squares for s in line):
        shade = [[1 if s.dim and s.value is not None else None for s in line] for line in squares]
        traces.append(base | {"z": shade, "colorscale": [[0, DIM], [1, DIM]], "opacity": 0.72, "showscale": False,
                              "hoverinfo": "skip"})  # fmt: skip
    category = {"type": "category", "showgrid": False}
    made = figure(traces, axis(names[1]) | category, axis(names[0]) | category, title, max(320, 200 + 30 * len(rows)))
    made["layout"]["annotations"] = [
        {"x": c, "y": r, "text": escape(s.mark), "showarrow": False, "font": {"color": INK, "size": 14}}
        for r, line in enumerate(squares) for c, s in enumerate(line) if s.mark
    ]  # fmt: skip
    r, c = here
    made["layout"]["shapes"] = [{"type": "rect", "x0": c - 0.5, "x1": c + 0.5, "y0": r - 0.5, "y1": r + 0.5,
                                 "line": {"color": INK, "width": 3}}]  # fmt: skip
    made["layout"]["margin"]["t"] = 84
    return made


def cloud_map(
    points: Sequence[tuple[object, object, Square]], names: tuple[str, str], *, title: str, unit: str, diverging: bool,
    better_is_more: bool, grey_dominated: bool,
) -> Figure:  # fmt: skip
    """A map for cells that form no grid: each is a point (across, down)."""
    shown = [(x, y, s) for x, y, s in points if s.value is not None]
    colours = _colours([s.value for *_, s in shown], diverging, better_is_more, "c")
    trace = {
        "type": "scatter", "mode": "markers", "x": [x for x, _, _ in shown], "y": [y for _, y, _ in shown],
        "marker": {
            "size": 13, "color": [s.value for *_, s in shown], "colorbar": _bar(unit),
            "line": {"width": 1, "color": INK},
            "opacity": [0.35 if s.dim and grey_dominated else 1.0 for *_, s in shown],
            "symbol": ["star" if "★" in s.mark else "circle" for *_, s in shown], **colours,
        },
        "text": [_lines(s.told) for *_, s in shown], "customdata": [s.number for *_, s in shown],
        "hovertemplate": "%{text}<extra></extra>", "showlegend": False,
    }  # fmt: skip
    made = figure([trace], axis(names[1]), axis(names[0]), title, 420)
    made["layout"]["margin"]["t"] = 84
    return made


def _lines(told: str) -> str:
    return escape(told).replace("\n", "<br>")


def _colours(values: Sequence[float | None], diverging: bool, better_is_more: bool, of: str) -> dict[str, Any]:
    """Blue is better and orange worse, about zero; a level is from dark to light."""
    if not diverging:
        return {"colorscale": "Cividis"}
    limit = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=1.0) or 1.0
    colours = [colour for _, colour in BETTER_WORSE]
    chosen = colours if better_is_more else colours[::-1]
    scale = [[at, colour] for (at, _), colour in zip(BETTER_WORSE, chosen, strict=True)]
    return {f"{of}min": -limit, f"{of}max": limit, "colorscale": scale}


def _bar(unit: str) -> dict[str, Any]:
    return {"title": {"text": escape(unit), "side": "top"}, "orientation": "h", "thickness": 10, "y": 1.0,
            "yanchor": "bottom", "len": 0.9, "tickfont": {"size": 10}}  # fmt: skip


def curves(series: Sequence[Series], title: str, x_title: str, y_title: str, *, joined: bool, category: bool) -> Figure:
    """Points with intervals along an axis."""
    traces = []
    for k, each in enumerate(series):
        known = [(x, p) for x, p in zip(each.x, each.points, strict=True) if p is not None]
        if not known:
            continue
        points = [p for _, p in known]
        traces.append({
            "type": "scatter", "mode": "lines+markers" if joined else "markers", "name": escape(each.label),
            "x": [escape(str(x)) if category else x for x, _ in known], "y": [p.middle for p in points],
            "error_y": {"type": "data", "symmetric": False, "array": [p.high - p.middle for p in points],
                        "arrayminus": [p.middle - p.low for p in points], "color": points[0].colour, "thickness": 1.5},
            "line": {"color": points[0].colour, "dash": ("solid", "dash", "dot", "dashdot")[k % 4]},
            "marker": {"symbol": points[0].mark, "size": 9, "color": points[0].colour},
            "text": [_lines(p.told) for p in points], "hovertemplate": "%{text}<extra></extra>",
        })  # fmt: skip
    x = axis(x_title) | ({"type": "category"} if category else {})
    return figure(traces, x, axis(y_title), title, 340)


def lines(
    series: Sequence[tuple[str, Sequence[float], Sequence[float | None]]], x_title: str, y_title: str,
    marks: Sequence[tuple[float, str]] = (),
) -> Figure:  # fmt: skip
    """(label, along, upwards) of each line; gaps where there is None. marks: moments, with a word for each."""
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": escape(label), "x": list(x), "y": list(y),
            "marker": {"size": 4, "color": colour, "symbol": MARKS[k % len(MARKS)]},
            "line": {"color": colour, "dash": ("solid", "dash", "dot", "dashdot")[k % 4]},
        }
        for k, ((label, x, y), colour) in enumerate(zip(series, css_colours(len(series)), strict=True))
    ]  # fmt: skip
    made = figure(traces, axis(x_title), axis(y_title), "", 320)
    made["layout"]["shapes"] = [{"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1,
                                 "line": {"color": DIM, "dash": "dot", "width": 1}} for at, _ in marks]  # fmt: skip
    made["layout"]["annotations"] = [{"x": at, "yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False,
                                      "text": escape(word), "font": {"size": 10}} for at, word in marks]  # fmt: skip
    made["layout"]["margin"]["t"] = 28
    return made


def learning(found: Training) -> list[Figure]:
    """The measurements at each look, a figure for each unit."""
    made = []
    for title, measured in found.panels:
        colours = css_colours(len(measured))
        series = [
            Series(curve.label, found.steps, list(_points(curve, found, colour, MARKS[k % len(MARKS)])))
            for k, (curve, colour) in enumerate(zip(measured, colours, strict=True))
        ]
        made.append(curves(series, title, found.counted, title.partition(",")[0], joined=True, category=False))
    return made


def _points(curve: Curve, found: Training, colour: str, mark: str) -> Iterator[Point]:
    low, high = curve.low or curve.values, curve.high or curve.values
    for step, middle, least, most in zip(found.steps, curve.values, low, high, strict=True):
        told = f"{curve.label}: {middle:.5g}" + (f" [{least:.5g}, {most:.5g}]" if curve.low else "")
        yield Point(curve.label, middle, least, most, f"{told}\nat {step:,.0f}", colour, mark)


def kinds_of(made: Timeline) -> list[tuple[str, str, str]]:
    """(lane, kind, colour) of what a timeline shows, as its own figure colours it."""
    found = []
    for lane in LANES:
        kinds = list(dict.fromkeys(e.kind for e in made.events if e.lane == lane and e.kind != "part"))
        found += [(lane, kind, colour) for kind, colour in zip(kinds, css_colours(len(kinds)), strict=True)]
    return found


def timeline(made: Timeline) -> Figure:
    """The five lanes over the seconds of the session."""
    traces = []
    for lane, kind, colour in kinds_of(made):
        events = [e for e in made.events if e.lane == lane and e.kind == kind]
        told = [
            "<br>".join(escape(line) for line in (
                e.name, f"at {(e.start_us - made.open_us) / 1e6:.3f} s for {(e.end_us - e.start_us) / 1e6:.3f} s",
                *(f"{name}: {value}" for name, value in e.args.items() if value not in ("", None)),
            ))
            for e in events
        ]  # fmt: skip
        least = (made.close_us - made.open_us) / 2e9  # what takes no time is a line that can still be seen
        traces.append({
            "type": "bar", "orientation": "h", "y": [lane] * len(events), "name": escape(f"{lane}: {kind}"),
            "base": [(e.start_us - made.open_us) / 1e6 for e in events],
            "x": [max((e.end_us - e.start_us) / 1e6, least) for e in events], "text": told, "textposition": "none",
            "marker": {"color": colour, "line": {"width": 0}},
            "hovertemplate": "%{text}<extra></extra>", "showlegend": False, "width": 0.6,
        })  # fmt: skip
    y = axis("") | {"type": "category", "categoryorder": "array", "categoryarray": list(LANES[::-1]), "showgrid": False}
    made_figure = figure(traces, axis("seconds since the app opened"), y, "", 330)
    made_figure["layout"] |= {"barmode": "overlay", "dragmode": "zoom"}
    return made_figure


def axis(title: str) -> dict[str, Any]:
    """An axis in the style of all figures."""
    return {"title": {"text": escape(title)}, "automargin": True, "gridcolor": PALE, "zeroline": False,
            "tickfont": {"color": GREY}, "fixedrange": False}  # fmt: skip


def figure(traces: Sequence[dict[str, Any]], x: dict[str, Any], y: dict[str, Any], title: str, height: int) -> Figure:
    """A figure in the style of all figures. The title is not drawn, because it would be cut off where the page is
    narrow; screen readers read it."""
    return {
        "data": list(traces),
        "layout": {
            "xaxis": x, "yaxis": y, "height": height, "margin": {"l": 8, "r": 12, "t": 16, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK}, "meta": title,
            "legend": {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0, "xanchor": "left"},
            "hoverlabel": {"align": "left", "namelength": -1},
        },
    }  # fmt: skip
