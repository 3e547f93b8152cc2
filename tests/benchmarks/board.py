# SPDX-License-Identifier: MIT
"""What was measured: rows of a measure, what stands beside it, and the target it is held to."""

from __future__ import annotations

import dataclasses
import json
import statistics
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Lines = dict[str, list[tuple[float, float]]]

SCHEMA = 1
HEADINGS = ("measure", "figure", "beside", "its figure", "ratio", "target", "")


@dataclasses.dataclass(frozen=True, slots=True)
class Beside:
    """Somebody else's figure for the same act, taken in the same run.

    kind: floor (the kernel's price, paid in C), bare (an interpreter that does nothing) or peer.
    """

    kind: str
    name: str
    figure: float


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A bound on the figure itself, or on its ratio to what stands beside it.

    beside: a kind or the beginning of a name, None for the figure itself.
    faster: the other one must take at least `limit` times as long, instead of ours at most.
    """

    limit: float
    beside: str | None = None
    faster: bool = False

    def is_about(self, other: Beside) -> bool:
        return self.beside is not None and (
            other.kind == self.beside or other.name.startswith(self.beside)
        )

    def text(self, unit: str) -> str:
        """Say it in a few characters."""
        if self.beside is None:
            return f"<= {show(self.limit, unit)}"
        return f"1/{self.limit:g} of it" if self.faster else f"<= {self.limit:g} x"

    def is_met(self, figure: float, other: float | None = None) -> bool:
        """Say whether a figure keeps within it."""
        if other is None:
            return figure <= self.limit
        return figure * self.limit <= other if self.faster else figure <= self.limit * other


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One measure."""

    section: str
    measure: str
    figure: float
    unit: str = "s"
    besides: tuple[Beside, ...] = ()
    targets: tuple[Target, ...] = ()

    def lines(self) -> list[tuple[str, ...]]:
        """Return the cells of its lines: one for the figure, one for each that stands beside."""
        own = [target for target in self.targets if target.beside is None]
        cells = []
        if own or not self.besides:
            verdict = _verdict([target.is_met(self.figure) for target in own])
            wanted = ", ".join(target.text(self.unit) for target in own)
            cells.append(("", "", "", wanted, verdict))
        for other in self.besides:
            wanted, verdict = "", ""
            about = [target for target in self.targets if target.is_about(other)]
            if about:
                wanted = ", ".join(target.text(self.unit) for target in about)
                verdict = _verdict([one.is_met(self.figure, other.figure) for one in about])
            ratio = ratio_text(self.figure, other.figure)
            named = other.name if other.kind == "peer" else f"{other.kind}: {other.name}"
            cells.append((named, show(other.figure, self.unit), ratio, wanted, verdict))
        first = (self.measure, show(self.figure, self.unit))
        return [(*(first if n == 0 else ("", "")), *cell) for n, cell in enumerate(cells)]

    def missed(self) -> list[str]:
        """Return what it misses, in words."""
        found = []
        for target in self.targets:
            if target.beside is None and not target.is_met(self.figure):
                found.append(f"{show(self.figure, self.unit)}, not {target.text(self.unit)}")
            for other in self.besides:
                if target.is_about(other) and not target.is_met(self.figure, other.figure):
                    ratio = ratio_text(self.figure, other.figure)
                    found.append(f"{ratio} of {other.name}, not {target.text(self.unit)}")
        return found

    def judged(self) -> int:
        """Return how many verdicts there are: a target has one beside each that it is about, and
        beside an absent peer none."""
        return sum(
            1 if target.beside is None else sum(map(target.is_about, self.besides))
            for target in self.targets
        )


def _verdict(met: Sequence[bool]) -> str:
    if not met:
        return ""
    return "met" if all(met) else "MISSED"


def ratio_text(figure: float, other: float) -> str:
    """Return a quotient as people read it: 1.2 x, or 1/9.3."""
    if figure <= 0 or other <= 0:
        return "-"
    if figure >= other:
        return f"{figure / other:.2f} x"
    return f"1/{other / figure:.3g}"


def show(figure: float, unit: str) -> str:
    """Return a figure with its unit, to three digits."""
    if unit == "s":
        for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
            if abs(figure) >= scale:
                return f"{figure / scale:.3g} {name}" if figure < 1000 else f"{figure:.0f} s"
        return f"{figure * 1e9:.0f} ns"
    if unit == "MiB":
        return f"{figure:.1f} MiB"
    return f"{figure:,.0f} {unit}".rstrip()


def percentile(figures: Iterable[float], share: float) -> float:
    """Return the figure that this share of the sorted ones does not exceed (0.5: the median)."""
    ordered = sorted(figures)
    if share == 0.5:
        return statistics.median(ordered)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Board:
    """The rows of one run, the points of its plots, and what was not there to be measured."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.absent: dict[str, str] = {}
        self.plots: dict[str, Any] = {}
        self.notes: dict[str, list[str]] = {}

    def add(
        self,
        section: str,
        measure: str,
        figure: float,
        *,
        unit: str = "s",
        besides: Iterable[Beside] = (),
        targets: Iterable[Target] = (),
    ) -> Row:
        """Write a row down."""
        row = Row(section, measure, figure, unit, tuple(besides), tuple(targets))
        self.rows.append(row)
        return row

    def plot(self, name: str, title: str, axes: tuple[str, str], scales: tuple[str, str]) -> Lines:
        """Return the lines of a plot: name to points, in order."""
        new = {"title": title, "axes": axes, "scales": scales, "lines": {}}
        lines: Lines = self.plots.setdefault(name, new)["lines"]
        return lines

    def note(self, section: str, line: str) -> None:
        """Write a line down that is shown below the rows of a section."""
        self.notes.setdefault(section, []).append(line)

    def sections(self) -> list[str]:
        """Return the sections in the order in which they came."""
        return list(dict.fromkeys([row.section for row in self.rows] + list(self.notes)))

    def save(self, path: Path, about: dict[str, str]) -> None:
        """Keep everything as plain data."""
        data = {
            "schema": SCHEMA,
            "about": about,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "absent": self.absent,
            "plots": self.plots,
            "notes": self.notes,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n")


def table(rows: Iterable[Row]) -> list[str]:
    """Lay rows out for a terminal."""
    lines = [HEADINGS, *(line for row in rows for line in row.lines())]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def verdicts(rows: Iterable[Row]) -> str:
    """Count the targets in a line."""
    rows = list(rows)
    judged = sum(row.judged() for row in rows)
    missed = sum(len(row.missed()) for row in rows)
    return f"{judged} targets judged, {judged - missed} met, {missed} missed"
