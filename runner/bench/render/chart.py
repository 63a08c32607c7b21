"""Line charts as inline SVG. Pure; no colours of its own but the classes `s0`…`s5`, which the page paints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 30, 12, 44
_SERIES = 6

Point = tuple[float, float]
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Axis:
    """`low` and `high` as `scale` places them from left to right or bottom to top; `ticks` with their words."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Scale

    def part(self, value: float) -> float:
        """Where the value lies, from 0 to 1."""
        low, high = self.scale(self.low), self.scale(self.high)
        return min(max((self.scale(value) - low) / (high - low), 0.0), 1.0) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or single dots when `dots`. `number` chooses the colour."""

    name: str
    number: int
    points: Sequence[Point]
    dots: bool = False


def chart(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """An SVG that scales with the page. `title` is for those who do not see it."""
    parts = [_grid(x, y), *(_drawn(each, x, y) for each in series)]
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f"<svg {box}>{''.join(parts)}</svg>"


def linear(title: str, values: Sequence[float]) -> Axis:
    """From 0 to beyond the largest value."""
    high = max(values, default=0.0) or 1.0
    step = _step(high / 5)
    count = math.ceil(high / step)
    ticks = tuple((step * number, f"{step * number:,.10g}") for number in range(count + 1))
    return Axis(title, 0.0, step * count, ticks, float)


def logarithmic(title: str, values: Sequence[float]) -> Axis:
    """Around the values above 0, by powers of ten with their 2 and 5."""
    above = [value for value in values if value > 0] or [1.0]
    places = range(math.floor(math.log10(min(above))) - 1, math.ceil(math.log10(max(above))) + 1)
    every = [digit * 10.0**place for place in places for digit in (1, 2, 5)]
    low = max([each for each in every if each <= min(above)], default=every[0])
    high = min([each for each in every if each >= max(above) and each > low], default=every[-1])
    shown = [each for each in every if low <= each <= high]
    if len(shown) > 8:
        shown = [each for each in shown if math.log10(each) % 1 < 1e-9]
    return Axis(title, low, high, tuple((each, f"{each:,.10g}") for each in shown), math.log10)


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20 …"""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.part(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.part(value) * (HEIGHT - _TOP - _BOTTOM)


def _grid(x: Axis, y: Axis) -> str:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    lines = [f'<path class="grid" d="M{_LEFT} {_y(y, at):.1f}H{right}"/>' for at, _ in y.ticks]
    lines += [f'<text x="{_LEFT - 6}" y="{_y(y, at) + 4:.1f}" class="end">{word}</text>' for at, word in y.ticks]
    lines += [f'<path class="grid" d="M{_x(x, at):.1f} {_TOP}V{bottom}"/>' for at, _ in x.ticks]
    lines += [f'<text x="{_x(x, at):.1f}" y="{bottom + 16}" class="mid">{word}</text>' for at, word in x.ticks]
    lines.append(f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 6}" class="mid">{escape(x.title)}</text>')
    lines.append(
        f'<text transform="translate(14 {(_TOP + bottom) / 2}) rotate(-90)" class="mid">{escape(y.title)}</text>'
    )
    return "".join(lines)


def _drawn(series: Series, x: Axis, y: Axis) -> str:
    colour = f"s{series.number % _SERIES}"
    places = [f"{_x(x, one):.1f} {_y(y, other):.1f}" for one, other in series.points]
    if series.dots:
        title = f"<title>{escape(series.name)}</title>"
        pairs = (place.split() for place in places)
        return "".join(f'<circle class="{colour}" cx="{cx}" cy="{cy}" r="4">{title}</circle>' for cx, cy in pairs)
    return (
        f'<path class="line {colour}" d="M{"L".join(places)}"><title>{escape(series.name)}</title></path>'
        if places
        else ""
    )
