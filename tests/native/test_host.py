# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import (
    NEEDS_NAMESPACES,
    NEEDS_PROC,
    NEEDS_TIME_NAMESPACES,
    TESTS,
    needs_linux,
    python,
    run,
)
from pidproof import _native
from pidproof._pp import ffi, lib


if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("nothing_left")

# Prints the host's facts as this process sees them.
FACTS = """
    import json
    from pidproof import _native
    host = _native._host_struct()
    print(json.dumps({
        "features": sorted(_native.features()),
        "boot": _native.boot_id(),
        "namespace": _native.pid_namespace(),
        "offsets": [host.monotonic_offset, host.boottime_offset],
        "inexact": bool(host.features & 8),
    }))
"""


@NEEDS_PROC
def test_facts_are_those_of_the_system() -> None:
    host = ffi.new("struct pp_host *")
    assert lib.pp_host_read(0, host) == 0
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert ffi.string(host.boot_id).decode() == boot
    assert host.pid_namespace == os.stat("/proc/self/ns/pid").st_ino
    assert host.tick == 10**9 // os.sysconf("SC_CLK_TCK")
    assert host.features & lib.PP_HAS_PROC


@pytest.mark.parametrize(
    ("without_them", "gone"),
    [
        ("", set()),
        ("pidfs", {"pidfs"}),
        ("pidfd", {"pidfs", "pidfd"}),
        ("proc", {"proc"}),
        (" pidfs , proc ", {"pidfs", "proc"}),
        ("no-such-thing", set()),
    ],
)
def test_features_can_be_done_without_and_never_added(
    without: Callable[[str], None], without_them: str, gone: set[str]
) -> None:
    without("")
    have = _native.features()
    without(without_them)
    assert _native.features() == have - gone


@NEEDS_PROC
def test_the_newest_kernel_has_everything() -> None:
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    features = _native.features()
    assert "proc" in features
    assert ("pidfd" in features) == (release >= (5, 3))
    assert ("pidfs" in features) == (release >= (6, 9))


@NEEDS_NAMESPACES
def test_another_pid_namespace_is_seen_and_its_proc_told_from_ours() -> None:
    outside = json.loads(run(python(FACTS)))
    own_proc = json.loads(run(["unshare", "-p", "-f", "--mount-proc", *python(FACTS)]))
    foreign_proc = json.loads(run(["unshare", "-p", "-f", *python(FACTS)]))
    assert own_proc["boot"] == foreign_proc["boot"] == outside["boot"]
    assert own_proc["namespace"] != outside["namespace"]
    assert "proc" in own_proc["features"]
    assert "proc" not in foreign_proc["features"]


@NEEDS_TIME_NAMESPACES
def test_clock_offsets_of_a_time_namespace_are_read() -> None:
    shifted = ["unshare", "-T", "-f", "--monotonic", "-100", "--boottime", "2000"]
    facts = json.loads(run([*shifted, *python(FACTS)]))
    assert facts["offsets"] == [-100 * 10**9, 2000 * 10**9]
    assert not facts["inexact"]
    assert json.loads(run(python(FACTS)))["offsets"] == [0, 0]


@NEEDS_NAMESPACES
def test_without_proc_there_are_no_facts() -> None:
    code = """
        import ctypes
        from pidproof._pp import ffi, lib
        while ctypes.CDLL(None).umount2(b"/proc", 2) == 0:
            pass  # in a container one can lie upon another
        print(lib.pp_host_read(0, ffi.new("struct pp_host *")))
    """
    assert int(run(["unshare", "-m", *python(code)])) == -errno.ENOENT


@NEEDS_NAMESPACES
@pytest.mark.parametrize("content", ["", "short", "x" * 100])
def test_a_boot_id_that_is_none_is_a_protocol_error(tmp_path: Path, content: str) -> None:
    fake = tmp_path / "boot_id"
    fake.write_text(content)
    code = """
        from pidproof._pp import ffi, lib
        print(lib.pp_host_read(0, ffi.new("struct pp_host *")))
    """
    script = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'
    out = run(["unshare", "-m", "sh", "-c", script, "sh", str(fake), *python(code)])
    assert int(out) in {-errno.EPROTO, -errno.ENOBUFS}


@NEEDS_PROC
def test_out_of_descriptors_there_are_no_facts() -> None:
    code = """
        import os, resource
        from pidproof._pp import ffi, lib
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        try:
            while True:
                os.dup(0)
        except OSError:
            print(lib.pp_host_read(0, ffi.new("struct pp_host *")))
    """
    assert int(run(python(code))) == -errno.EMFILE


@needs_linux("seccomp(2)")
def test_a_filter_that_denies_pidfds_leaves_the_fallback() -> None:
    """As old container runtimes do: seccomp answers EPERM or ENOSYS."""
    for denied in (errno.EPERM, errno.ENOSYS):
        code = f"""
            import os, sys
            sys.path.insert(0, {str(TESTS)!r})
            import seccomp
            seccomp.deny(seccomp.PIDFD_OPEN, {denied})
            from pidproof import _native
            from pidproof.process.identity import identify
            parent = identify(os.getppid())
            with parent.open() as handle:
                print(sorted(_native.features()), handle.liveness().value, handle.fileno())
        """
        assert run(python(code)).strip() == "['proc'] alive -1"
