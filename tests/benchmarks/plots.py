# SPDX-License-Identifier: MIT
"""Draws the plots of docs/plots from the points of a run, the same file for the same points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Text stays text, ids come from the content, and no date is written: small diffs.
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pidproof",
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.figsize": (7.0, 4.0),
}


def draw(plots: Mapping[str, Any], directory: Path) -> None:
    """Draw every plot for which there are points.

    A plot has `title`, `axes`, `scales` (log or linear) and `lines`: name to points, in order.
    """
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    directory.mkdir(exist_ok=True)
    for name, plot in sorted(plots.items()):
        with mpl.rc_context(SETTINGS):
            figure, axes = pyplot.subplots(layout="constrained")
            for label, points in plot["lines"].items():
                x, y = zip(*sorted(points), strict=True)
                axes.plot(x, y, label=label, marker="." if len(points) < 20 else None)
            axes.set(title=plot["title"], xlabel=plot["axes"][0], ylabel=plot["axes"][1])
            axes.set_xscale(plot["scales"][0])
            axes.set_yscale(plot["scales"][1])
            axes.legend(frameon=False)
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None})
            pyplot.close(figure)
