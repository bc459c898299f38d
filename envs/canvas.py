"""A picture as pixels: filled boxes and lines of text, drawn straight into an array. Called by `envs/screen.py`.

matplotlib's figures take a quarter of a second each, which is too slow for a video; its fonts alone are used here, and
what was written once is kept.
"""

from functools import cache, lru_cache

import numpy as np
from matplotlib import colormaps
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray

FONT, DPI = "DejaVu Sans", 100
X_HEIGHT = 0.36  # of the font's size: the middle of a line lies half a capital letter above the baseline

Colour = tuple[int, int, int]


class Canvas:
    """An image (height, width, 3) uint8, all of one colour at first. Coordinates are in pixels from the top left."""

    def __init__(self, width: int, height: int, colour: str) -> None:
        self.pixels = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = colour_of(colour)

    def box(self, x: float, y: float, wide: float, tall: float, colour: str | Colour, corner: int = 0) -> None:
        """A filled rectangle inside the picture; corner: radius of its round corners."""
        left, top, right, bottom = round(x), round(y), round(x + wide), round(y + tall)
        fill = colour_of(colour)
        self.pixels[top + corner : bottom - corner, left:right] = fill
        self.pixels[top:bottom, left + corner : right - corner] = fill
        if corner:
            cover = _corner(corner)
            for at_y, rows in ((top, cover), (bottom - corner, cover[::-1])):
                self._blend(left, at_y, rows, fill)
                self._blend(right - corner, at_y, rows[:, ::-1], fill)

    def say(
        self, x: float, y: float, words: str, colour: str, size: float, *, bold: bool = False, centred: bool = False
    ) -> None:
        """Write a line of text that begins at x, or is centred on it; y: middle of its height. size in points."""
        if not words.strip():
            return
        cover, below = _written(words, size, bold)
        tall, wide = cover.shape
        baseline = y + X_HEIGHT * size * DPI / 72
        self._blend(round(x - wide / 2 if centred else x), round(baseline + below) - tall, cover, colour_of(colour))

    def _blend(self, x: int, y: int, cover: NDArray[np.float32], colour: Colour) -> None:
        """Colour over what is there, as far as cover (h, w) in [0, 1] says; what lies outside the picture is lost."""
        cover = cover[max(-y, 0) :, max(-x, 0) :]
        there = self.pixels[max(y, 0) : max(y, 0) + len(cover), max(x, 0) : max(x, 0) + cover.shape[1]]
        cover = cover[: there.shape[0], : there.shape[1], None]
        there[:] = there + cover * (np.array(colour, np.float32) - there) + 0.5


@cache
def colour_of(colour: str | Colour) -> Colour:
    """Red, green and blue of "#rrggbb"."""
    if isinstance(colour, tuple):
        return colour
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@cache
def of_palette(k: int) -> Colour:
    """One of twenty colours that are easy to tell apart."""
    red, green, blue, _ = colormaps["tab20"](k % 20)
    return round(255 * red), round(255 * green), round(255 * blue)


@cache
def _corner(radius: int) -> NDArray[np.float32]:
    """How much of each pixel a quarter of a disc covers, (radius, radius), the disc's middle at the bottom right."""
    away = radius - 0.5 - np.arange(radius)
    cover: NDArray[np.float32] = np.clip(radius + 0.5 - np.hypot(away[:, None], away), 0, 1).astype(np.float32)
    return cover


@cache
def _font(bold: bool) -> FT2Font:
    return FT2Font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))


@lru_cache(4096)
def _written(words: str, size: float, bold: bool) -> tuple[NDArray[np.float32], float]:
    """How much of each pixel a line of text covers, (h, w); pixels below the baseline."""
    font = _font(bold)
    font.set_size(size, DPI)
    font.set_text(words, 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    return np.asarray(font.get_image() / 255, np.float32), font.get_descent() / 64
