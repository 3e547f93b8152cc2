# SPDX-License-Identifier: MIT
"""Compares the instruction counts of the last run with those in baseline.json.

    python tests/benchmarks/compare.py [--tolerance 0.03] [--accept]

Exit status 1 if one has grown by more than the tolerance.  Counts do not depend on how busy the
machine is, but on its interpreter, libraries and valgrind: where those differ from the baseline's,
only the ratios to what was counted beside are compared, with five times the tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
LAST = HERE.parent.parent / ".benchmarks" / "last.json"
UNIT = "instructions"


def counts_of(last: Path) -> dict[str, Any]:
    """Return the counts of a run, and what they depend on."""
    data = json.loads(last.read_bytes())
    found = {}
    for row in data["rows"]:
        if row["unit"] == UNIT:
            beside = {other["name"]: round(other["figure"]) for other in row["besides"]}
            found[row["measure"]] = {"count": round(row["figure"]), "beside": beside}
    about = data["about"]
    return {"counter": f"{about['python']}; {about['valgrind']}", "counts": found}


def changes(then: dict[str, Any], now: dict[str, Any], tolerance: float) -> list[tuple[str, bool]]:
    """Return a line for each count, and whether it is worse than it may be."""
    same = then["counter"] == now["counter"]
    found = []
    for measure, old in then["counts"].items():
        new = now["counts"].get(measure)
        if new is None:
            found.append((f"{measure}: not counted this time", False))
        elif same:
            found.append(_line(measure, "", old["count"], new["count"], tolerance))
        elif not old["beside"]:
            found.append((f"{measure}: not comparable, counted by {then['counter']}", False))
        else:
            found += [
                _line(
                    measure,
                    f" to {name}",
                    old["count"] / old["beside"][name],
                    new["count"] / new["beside"][name],
                    5 * tolerance,
                )
                for name in old["beside"]
                if name in new["beside"]
            ]
    found += [(f"{measure}: new", False) for measure in now["counts"].keys() - then["counts"]]
    return found


def _line(measure: str, to: str, old: float, new: float, tolerance: float) -> tuple[str, bool]:
    change = new / old - 1
    worse = new > old * (1 + tolerance)
    mark = "WORSE" if worse else "better" if change < -tolerance else "as before"
    return f"{measure}{to}: {old:,.6g} -> {new:,.6g} ({change:+.1%}) {mark}", worse


def compare(last: Path = LAST, tolerance: float = 0.03) -> bool:
    """Print how the last run compares; return whether anything is worse than it may be."""
    now = counts_of(last)
    if not now["counts"]:
        print("nothing was counted: skipped")
        return False
    if not BASELINE.exists():
        print(f"there is no {BASELINE.name}: --accept makes one")
        return False
    found = changes(json.loads(BASELINE.read_bytes()), now, tolerance)
    for line, _ in found:
        print(line)
    return any(worse for _, worse in found)


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tolerance", type=float, default=0.03, help="default: 0.03")
    parser.add_argument("--accept", action="store_true", help="make the last run the baseline")
    options = parser.parse_args()
    if options.accept:
        BASELINE.write_text(json.dumps(counts_of(LAST), indent=1) + "\n")
        return 0
    return int(compare(tolerance=options.tolerance))


if __name__ == "__main__":
    sys.exit(main())
