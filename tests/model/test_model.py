# SPDX-License-Identifier: MIT
"""The protocol as a model: it keeps its promises, and misses each defence that is left out.

PIDPROOF_MODEL=full takes more callers and failures besides, an hour, and up to 8 GB of memory.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from helpers import ROOT


if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = Path(__file__).with_name("protocol.pml")
SOURCE = MODEL.read_text() + MODEL.with_name("world.pml").read_text()
FULL = os.environ.get("PIDPROOF_MODEL") == "full"
# Compiling takes longer than most of the runs, and clang half as long as gcc.
COMPILER = shutil.which("clang") or shutil.which("cc")
NEEDS_SPIN = pytest.mark.skipif(
    shutil.which("spin") is None or COMPILER is None, reason="needs spin and a C compiler"
)


# ----------------------------------------------------------------------------- what is looked at

# Each with every order of its steps.  Without AGED no deadline passes but that of a caller who is
# stopped for ever; then the lock must exclude, and only the kernel wakes who waits for it.
CONFIGURATIONS = {
    "exact": "OLD=1",
    "deadlines-pass": "OLD=1 AGED=1 LATE=1 CRASHES=0 DEATHS=0",
    "deadlines-pass-and-crash": "AGED=1 DEATHS=0 FLIPS=0",
    "stopper": "LAUNCHERS=1 STOPPERS=1 OLD=1 AGED=1 LATE=1 DEATHS=0",
    "full-disk": "OLD=1 AGED=1 DISK_FULL=1 CRASHES=0 DEATHS=0",
    "stopped-for-ever": "OLD=1 FREEZES=1 CRASHES=0 DEATHS=0",
    "recycled-pid": "OLD=1 REUSE=1 CRASHES=0",
    "forks-outlive": "HEIRS=1 FLIPS=0",
    "another-port": "RETRIES=1 LATE=1 AGED=1 CRASHES=0 DEATHS=0 FLIPS=0",
    "no-descriptor": "FAULTS=1 DISK_FULL=1 AGED=1 DEATHS=0 FLIPS=0",
    "three-in-line": "LAUNCHERS=2 STOPPERS=1 CRASHES=0 DEATHS=0 FLIPS=0",
    "all-end": "LIVE=1 DEATHS=0 FLIPS=0",
    "all-end-beside-a-stopped-one": "LIVE=1 FREEZES=1 CRASHES=0 DEATHS=0 FLIPS=0",
}
if FULL:
    CONFIGURATIONS |= {
        "full-more-failures": "OLD=1 CRASHES=2 DEATHS=2 FLIPS=2",
        "full-three": "LAUNCHERS=3 DEATHS=0",
        "full-three-two-crashes": "LAUNCHERS=3 CRASHES=2 DEATHS=0 FLIPS=0",
        "full-stopper": "STOPPERS=1 OLD=1 DEATHS=0 FLIPS=0",
        "full-deadlines-pass": "OLD=1 AGED=1 LATE=1",
        "full-taken-twice": "OLD=1 AGED=1 TRIES=2 CRASHES=0 DEATHS=0",
        "full-stopped-for-ever": "OLD=1 FREEZES=1",
        "full-stopped-for-ever-and-forks": "OLD=1 HEIRS=1 FREEZES=1 DEATHS=0",
        "full-recycled-pid": "OLD=1 AGED=1 REUSE=1 FLIPS=0",
        "full-another-port": "RETRIES=1 LATE=2 AGED=1 CRASHES=0",
        "full-all-end": "LIVE=1 OLD=1",
    }


class Breakage(NamedTuple):
    """What is broken if a defence is left out, and where that is seen."""

    breaks: str
    configuration: str


STUCK = "invalid end state"
CYCLE = "acceptance cycle"
TAKEN = "OLD=1 AGED=1 CRASHES=0"
BREAKAGES = {
    "NO_GUARD": [Breakage("two_holders", "OLD=1"), Breakage("orphan", TAKEN)],
    "NO_NONCE": [Breakage("killed_adopted", f"{TAKEN} DISK_FULL=1")],
    "NO_LIFE": [Breakage(STUCK, "")],
    "NO_IDENTITY": [Breakage(STUCK, "HEIRS=1")],
    "NO_FLOCK_TEST": [Breakage("two_holders", "LAUNCHERS=2 STOPPERS=1 CRASHES=0 DEATHS=0 FLIPS=0")],
    "NO_SEEN": [Breakage(CYCLE, "LIVE=1 OLD=1 CRASHES=0")],
    "NO_LOOK_AROUND": [Breakage(STUCK, "HEIRS=1")],
    "NO_SECOND_LOOK": [Breakage("orphan", "CRASHES=0")],
    "NO_GATE": [Breakage("orphan", "")],
    "OPEN_FIRST": [Breakage("orphan", "")],
    "NO_FENCE": [Breakage("killed_adopted", f"{TAKEN} DISK_FULL=1")],
    "NO_WRITE_FENCE": [Breakage("orphan", f"{TAKEN} DISK_FULL=1")],
    "NO_MARK": [Breakage("dying_published", "OLD=1")],
    "BY_NUMBER": [Breakage("hit_stranger", "OLD=1 REUSE=1 CRASHES=0")],
    "NO_CONFIRM": [Breakage("orphan", "OLD=1 CRASHES=0")],
    "ADOPT_GATED": [Breakage("unstarted_published", "")],
    "KILL_LOST": [Breakage("killed_adopted", f"{TAKEN} DISK_FULL=1")],
    "KILL_BLIND": [
        Breakage("killed_adopted", "FAULTS=1 DISK_FULL=1 AGED=1 CRASHES=0 DEATHS=0 FLIPS=0"),
    ],
    "RETRY_ANYWAY": [
        Breakage("orphan", "RETRIES=1 LATE=1 AGED=1 CRASHES=0 DEATHS=0 FLIPS=0"),
    ],
    "NO_RELEASE": [Breakage(STUCK, "CRASHES=0")],
}
CASES = [(name, case) for name, cases in BREAKAGES.items() for case in cases]


# ------------------------------------------------------------------------------------- running it


class Verdict(NamedTuple):
    """What Spin said of one configuration."""

    text: str
    seconds: float

    def find(self, pattern: str, default: str = "?") -> str:
        found = re.search(pattern, self.text)
        return found[1] if found else default

    @property
    def error(self) -> str:
        """What was violated, empty for nothing."""
        return self.find(r"pan:1: (?:assertion violated )?([\w ]+?) \(at depth", "")

    @property
    def is_complete(self) -> bool:
        said = re.search(r"errors: 0\n", self.text) and "Full statespace search" in self.text
        return bool(said) and not re.search(r"not completed|depth too small|truncated", self.text)

    @property
    def unreached(self) -> set[str]:
        """The steps of callers that were never taken, as line and text."""
        part = self.text.partition("unreached in proctype caller\n")[2].partition("unreached in")[0]
        steps = re.findall(r"(\w+\.pml:\d+), (state \d+), \"(.*)\"", part)
        # At each step there is a copy of the escape at a kill.
        return {
            f"{line}, {number}: {text}"
            for line, number, text in steps
            if not re.match(r"assert\(|\(\(!\(alive", text)
        }

    def __str__(self) -> str:
        errors = self.find(r"errors: (\d+)")
        states = self.find(r"([\d.e+]+) states, stored")
        depth = self.find(r"depth reached (\d+)")
        size = self.find(r"([\d.]+)\s+total actual")
        return (
            f"{errors} errors, {float(states):.0f} states, depth {depth}, {size} MB, "
            f"{self.seconds:.1f} s {self.error}"
        )


def verify(folder: Path, defines: str) -> Verdict:
    """Let Spin look at every order of the steps in one configuration."""
    is_live = "LIVE=" in defines
    options = [f"-D{define}" for define in defines.split()]
    how = ["-O1", "-DCOLLAPSE", "-DMEMLIM=8000"] if FULL else ["-O0"]  # most take longer to compile
    how += ["-DNFAIR=4"] if is_live else ["-DSAFETY"]
    limit = 4 * 3600 if FULL else 300
    for command in (
        ["spin", *options, "-a", str(MODEL)],
        [str(COMPILER), "-w", *how, "-o", "pan", "pan.c"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=limit)
    began = time.monotonic()
    pan = ["./pan", "-m1000000", "-w24" if FULL else "-w21", *(["-a", "-f"] if is_live else [])]
    done = subprocess.run(
        pan, cwd=folder, check=False, capture_output=True, text=True, timeout=limit
    )
    (folder / "pan").unlink()
    return Verdict(done.stdout + done.stderr, time.monotonic() - began)


class Verifier:
    """Runs what the selected tests need, as many at once as there are processors."""

    def __init__(self, factory: pytest.TempPathFactory, wanted: list[str]) -> None:
        # The full ones take all the memory that there is for each.
        self._pool = concurrent.futures.ThreadPoolExecutor(1 if FULL else os.cpu_count())
        self._futures = {
            defines: self._pool.submit(verify, factory.mktemp("model"), defines)
            for defines in wanted
        }

    def __getitem__(self, defines: str) -> Verdict:
        return self._futures[defines].result()

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Verifier]:
    wanted: set[str] = set()
    for item in request.session.items:
        if item.path == request.path and isinstance(item, pytest.Function):
            if item.originalname == test_every_step_is_taken.__name__:
                wanted |= set(CONFIGURATIONS.values())
            elif hasattr(item, "callspec") and "defines" in item.callspec.params:
                wanted.add(str(item.callspec.params["defines"]))
    verifier = Verifier(tmp_path_factory, sorted(wanted))
    yield verifier
    verifier.close()


def tell(capsys: pytest.CaptureFixture[str], name: str, verdict: Verdict) -> None:
    with capsys.disabled():
        print(f"\n{name}: {verdict}", end=" ")


slow = pytest.mark.slow
patient = pytest.mark.timeout(8 * 3600 if FULL else 600)


@slow
@patient
@NEEDS_SPIN
@pytest.mark.parametrize("defines", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_protocol_keeps_its_promises_in_every_order_of_its_steps(
    defines: str,
    verdicts: Verifier,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    verdict = verdicts[defines]
    tell(capsys, request.node.callspec.id, verdict)
    assert verdict.error == ""
    assert verdict.is_complete, verdict.text


@slow
@patient
@NEEDS_SPIN
@pytest.mark.parametrize(
    ("breaks", "defines"),
    [(case.breaks, f"{name}=1 {case.configuration}") for name, case in CASES],
    ids=[f"{name}-{case.breaks.replace(' ', '-')}" for name, case in CASES],
)
def test_a_defence_that_is_left_out_is_missed(
    breaks: str, defines: str, verdicts: Verifier, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = verdicts[defines]
    tell(capsys, defines, verdict)
    assert verdict.error == breaks, verdict.text


@slow
@patient
@NEEDS_SPIN
def test_every_step_is_taken(verdicts: Verifier) -> None:
    """A step that no configuration reaches would be proven to do no harm, whatever it does."""
    never = set.intersection(*(verdicts[defines].unreached for defines in CONFIGURATIONS.values()))
    assert never == set()


# ---------------------------------------------------------------------- that it is about this code


def test_every_function_that_a_step_names_exists() -> None:
    named = set(re.findall(r"\b((?:csrc|lock|process|server)/\w+\.(?:c|py)) (\w+)", SOURCE))
    assert len(named) > 40
    for name, function in sorted(named):
        folder = ROOT if name.startswith("csrc/") else ROOT / "src/pidproof"
        definition = rf"^{function}\(" if name.endswith(".c") else rf"^ *def {function}\("
        text = (folder / name).read_text()
        assert re.search(definition, text, re.MULTILINE), f"{name} has no {function}"


def test_the_steps_of_the_model_are_those_of_the_document() -> None:
    document = (ROOT / "docs/protocol.md").read_text()
    described = re.findall(r"^(?:- )?(\w+)\. \*\*([\w -]+)", document, re.MULTILINE)
    modelled = re.findall(r"/\* (\d+|[A-Z]) ([\w -]+): \w+/\w+\.\w+ \w+", SOURCE)
    assert len(described) == 14
    assert {label: name.lower() for label, name in described} == dict(modelled)
    # `publish` is a step of an adoption too.
    assert [label for label, _ in modelled if label.isdigit()] == [
        label for label, _ in described if label.isdigit()
    ]


def test_every_breakage_in_the_model_has_a_case() -> None:
    switches = set(re.findall(r"^#ifn?def ([A-Z_]+)$", SOURCE, re.MULTILINE))
    configuration = set(re.findall(r"^#define ([A-Z_]+) \d+$", SOURCE, re.MULTILINE))
    assert switches - configuration - {"LIVE"} == set(BREAKAGES)
