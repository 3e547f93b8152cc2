# SPDX-License-Identifier: MIT
"""Recordings of real Macs are replayed; until there is one, a made-up one stands for them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from darwin.kernel import area, hidden_area
from pidproof.errors import IdentityUnknown, ProcessGone
from pidproof.process.identity import identify


if TYPE_CHECKING:
    from darwin.kernel import Kernel

pytestmark = pytest.mark.darwin

HERE = Path(__file__).parent
RECORDINGS = sorted((HERE / "recordings").glob("*.json"))
BOOT = "0A1B2C3D-0000-4000-8000-ABCDEFABCDEF"


def kinfo(pid: int, *, state: int, flags: int, real: int, effective: int, start: int) -> bytes:
    """Return a kinfo_proc, by offset."""
    info = bytearray(b"\xee" * 648)
    struct.pack_into("<qi", info, 0, *divmod(start, 1_000_000))
    struct.pack_into("<iB3xi", info, 32, flags, state, pid)
    struct.pack_into("<I", info, 392, real)
    struct.pack_into("<I", info, 420, effective)
    struct.pack_into("<ii", info, 560, 1, pid)
    return bytes(info)


def unique(number: int, version: int) -> bytes:
    return bytes(16) + struct.pack("<QQii", number, 3, version, 4) + bytes(16)


def item(name: str, pid: int, words: bytes, **more: Any) -> dict[str, Any]:
    fields = {"state": 2, "flags": 0x4004, "real": 501, "effective": 501, "start": 10**15 + pid}
    fields.update(more)
    return {
        "name": name,
        "pid": pid,
        "kinfo_proc": kinfo(pid, **fields).hex(),
        "kinfo_proc_errno": 0,
        "unique": unique(10**6 + pid, 7).hex(),
        "unique_errno": 0,
        "procargs2": words.hex(),
        "procargs2_errno": 0 if words else 22,
        "path": "/usr/bin/program",
    }


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    processes = [
        item("awkward", 5_100_001, area([b"", b"-c", b"", b"\xff"], [b"RECORDED=1"])),
        item("system", 5_100_002, hidden_area([b"/bin/cat"])),
        item("forked", 5_100_003, area([b"parent"]), flags=0x4),
        item("zombie", 5_100_004, b"", state=5),
        item("launchd", 5_100_005, b"", real=0, effective=0),
    ]
    path = tmp_path / "recording.json"
    path.write_text(
        json.dumps({"schema": 1, "boot_session": BOOT, "uid": 501, "processes": processes})
    )
    return path


def test_a_recording_is_answered_byte_by_byte(kernel: Kernel, recording: Path) -> None:
    awkward, system, forked, zombie, launchd = kernel.replay(recording)
    identity = identify(awkward)
    assert identity.boot_id == BOOT.lower()
    assert identity.unique_id == 10**6 + awkward
    assert identity.start_time == 10**15 + awkward
    assert identity.argv() == (b"", b"-c", b"", b"\xff")
    assert identity.environ() == {b"RECORDED": b"1"}
    assert identity.exe() == "/usr/bin/program"
    assert identify(system).argv() == (b"/bin/cat",)
    with pytest.raises(IdentityUnknown):
        identify(system).environ()
    assert identify(forked).argv() == (b"parent",)
    with pytest.raises(ProcessGone):
        identify(zombie)
    assert identify(launchd).uid == 0
    with pytest.raises(IdentityUnknown):
        identify(launchd).argv()


def test_a_recording_of_another_schema_is_refused(kernel: Kernel, recording: Path) -> None:
    changed = recording.read_text().replace('"schema": 1', '"schema": 2')
    recording.write_text(changed)
    with pytest.raises(ValueError, match="schema"):
        kernel.replay(recording)


@pytest.mark.skipif(not RECORDINGS, reason="needs a recording of a Mac (record_kernel.py)")
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_what_a_mac_answered_is_understood(kernel: Kernel, path: Path) -> None:
    names = {item["name"]: item["pid"] for item in json.loads(path.read_text())["processes"]}
    kernel.replay(path)
    awkward = identify(names["awkward"])
    assert awkward.argv() == (b"", b"-c", b"import sys; sys.stdin.read()", b"", b"a b", b"\xff")
    assert awkward.environ()[b"RECORDED"] == b"1"
    assert awkward.unique_id
    assert identify(names["system"]).argv() == (b"/bin/cat",)
    with pytest.raises(ProcessGone):
        identify(names["zombie"])
    assert identify(names["launchd"]).uid == 0


def test_the_recorder_runs_on_a_mac_only() -> None:
    if sys.platform == "darwin":
        pytest.skip("this is one")
    command = [sys.executable, str(HERE / "record_kernel.py"), "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "on a Mac only" in done.stderr


def test_the_recorder_cuts_out_the_environment_of_others() -> None:
    from darwin.record_kernel import without_environment

    for argv in ([b"program", b"", b"x"], [b""], []):
        assert without_environment(area(argv, [b"SECRET=1"])) == hidden_area(argv)
