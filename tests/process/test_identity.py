# SPDX-License-Identifier: MIT
from __future__ import annotations

import ctypes
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import (
    KERNELS,
    NEEDS_NAMESPACES,
    NEEDS_NOBODY,
    NEEDS_PIDFS,
    NEEDS_PROC,
    NEEDS_ROOT,
    NEEDS_SET_TID,
    NEEDS_TIME_NAMESPACES,
    NEEDS_UNIQUE,
    NOBODY,
    SANITIZED,
    in_threads,
    needs_linux,
    python,
    read_line,
    rounds_of,
    run,
    wait_until,
    write_line,
)
from outside import HAS_PROC
from pid_reuse import born, bystander, end, next_tick, start_of_tick
from pidproof import _native
from pidproof._pp import lib
from pidproof.errors import IdentityUnknown, InvalidArgument, InvalidToken, ProcessGone
from pidproof.process.identity import ProcessIdentity, identify
from pidproof.process.liveness import Liveness


if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")

BOOT = "01234567-89ab-cdef-0123-456789abcdef"
TOKEN = f"pidproof:1:42:1000:{BOOT}:4026531836:7"
# Ends the main thread alone; the other goes on until a line comes.
LEADER_ENDS = """
    import ctypes, os, platform, sys, threading
    number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    def stay():
        print(threading.get_native_id(), flush=True)
        sys.stdin.readline()
        os._exit(0)
    threading.Thread(target=stay).start()
    ctypes.CDLL(None).syscall(number, 0)
"""
# Prints what this process is asked about the token in argv[1].
EXPLAIN = """
    import json, sys
    from pidproof.process.identity import ProcessIdentity
    liveness, why = ProcessIdentity.parse(sys.argv[1]).explain()
    print(json.dumps([liveness.value, why]))
"""


def with_fields(identity: ProcessIdentity, **changes: Any) -> ProcessIdentity:
    """Return the identity with some fields replaced."""
    names = ("pid", "start_time", "boot_id", "pid_namespace", "unique_id")
    values = [changes.get(name, getattr(identity, name)) or 0 for name in names]
    return ProcessIdentity.parse("pidproof:1:" + ":".join(map(str, values)))


def state(pid: int) -> str:
    return _native.status(pid)[0]


# ------------------------------------------------------------------------------ what it reads


def test_identity_agrees_with_psutil(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper("an argument")
    identity = identify(child.pid)
    other = psutil.Process(child.pid)
    ticks = (other.create_time() - psutil.boot_time()) * os.sysconf("SC_CLK_TCK")
    assert identity.pid == child.pid
    if "proc" in _native.features():
        assert identity.start_time == round(ticks)
    assert identity.uid == other.uids().real
    assert identity.argv() == tuple(os.fsencode(word) for word in other.cmdline())
    assert identity.exe() == other.exe()
    assert {os.fsdecode(k): os.fsdecode(v) for k, v in identity.environ().items()} == (
        other.environ()
    )


@NEEDS_PROC
def test_identity_holds_boot_id_and_namespace_as_the_kernel_shows_them() -> None:
    identity = identify(os.getpid())
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert identity.boot_id == boot == _native.boot_id()
    assert identity.pid_namespace == Path("/proc/self/ns/pid").stat().st_ino


@NEEDS_PIDFS
def test_unique_id_is_the_inode_of_the_pidfd() -> None:
    fd = os.pidfd_open(os.getpid())
    try:
        assert identify(os.getpid()).unique_id == os.fstat(fd).st_ino
    finally:
        os.close(fd)


def test_there_is_no_unique_id_where_the_kernel_has_none(
    without: Callable[[str], None],
) -> None:
    without("pidfs,unique")
    assert identify(os.getpid()).unique_id is None


@pytest.mark.parametrize("pid", [0, -1, -(2**31), 2**31, 2**63, True, "1", 1.0, None])
def test_what_is_not_a_pid_is_an_invalid_argument(pid: Any) -> None:
    with pytest.raises(InvalidArgument, match="not a pid"):
        identify(pid)


def test_identify_of_a_pid_that_nobody_has_is_gone(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    child.kill()
    child.wait()
    with pytest.raises(ProcessGone) as caught:
        identify(child.pid)
    assert caught.value.__dict__["pid"] == child.pid


@NEEDS_PROC
def test_the_id_of_a_thread_is_not_a_process(spawn: Spawn, kernel: str) -> None:
    child = spawn(
        python("""
            import sys, threading
            def stay():
                print(threading.get_native_id(), flush=True)
                sys.stdin.readline()
            threading.Thread(target=stay).start()
        """)
    )
    thread = int(read_line(child))
    assert thread != child.pid
    with pytest.raises(InvalidArgument, match="thread"):
        identify(thread)
    as_thread = with_fields(identify(child.pid), pid=thread, start_time=1, unique_id=1)
    assert as_thread.liveness() is Liveness.GONE


@NEEDS_PROC
@pytest.mark.parametrize("name", [b") (", b") R 1 1 1\n(", b"a\nb) Z 0", b"\xff\xfe)", b"(((", b""])
def test_a_hostile_name_does_not_disturb_the_reading(
    spawn: Spawn, kernel: str, name: bytes
) -> None:
    child = spawn(
        python(
            f"""
            import ctypes, sys
            ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0)
            print(flush=True)
            sys.stdin.readline()
            """
        )
    )
    read_line(child)
    assert Path(f"/proc/{child.pid}/comm").read_bytes() == name + b"\n"
    identity = identify(child.pid)
    ticks = (psutil.Process(child.pid).create_time() - psutil.boot_time()) * os.sysconf(
        "SC_CLK_TCK"
    )
    assert identity.start_time == round(ticks)
    assert identity.liveness() is Liveness.ALIVE
    wait_until(lambda: state(child.pid) == "S")
    _, parent, *_, has_execed = _native.status(child.pid)
    assert (parent, has_execed) == (os.getpid(), True)


def test_a_program_file_with_a_hostile_name_is_read_whole(spawn: Spawn, tmp_path: Path) -> None:
    # The file system of macOS has UTF-8 alone.
    program = os.fsencode(tmp_path) + b"/) (\n" + (b"\xff" if HAS_PROC else b"\xc3\xbf")
    os.symlink("/bin/sleep", program)
    child = spawn([program, "60"])
    assert identify(child.pid).argv() == (program, b"60")


@pytest.mark.parametrize(
    "argv",
    [
        (b"", b"60"),
        (b"sleep", b"60", b"", b""),
        (b"sleep", b"", b"60"),
        (b"\xff\xfe\n", b"60", b"a b\t\n"),
    ],
    ids=["empty-argv0", "empty-last", "empty-middle", "not-utf-8"],
)
def test_argv_comes_back_as_it_was_given(spawn: Spawn, kernel: str, argv: tuple[bytes]) -> None:
    # A shell ignores its positional parameters; it would not start as sleep with these.
    command = (argv[0], b"-c", b"echo; read line", *argv[1:])
    # With a directory it is not started by os.posix_spawn, which since 3.13 takes no empty name.
    child = spawn(list(command), executable="/bin/sh", cwd="/")
    read_line(child)
    assert identify(child.pid).argv() == command


@NEEDS_PROC
def test_argv_of_two_mebibytes_comes_back_whole(spawn: Spawn) -> None:
    child = spawn(
        python("""
            import os, resource, sys
            hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
            resource.setrlimit(resource.RLIMIT_STACK, (min(hard, 64 << 20) if hard > 0
                               else 64 << 20, hard))
            words = [bytes([97 + n]) * (128 * 1024 - 1) for n in range(17)]
            os.execv("/bin/sh", [b"sh", b"-c", b"echo; read line", *words])
        """)
    )
    read_line(child)
    argv = identify(child.pid).argv()
    assert argv[:3] == (b"sh", b"-c", b"echo; read line")
    assert [len(word) for word in argv[3:]] == [128 * 1024 - 1] * 17
    assert [word[:1] for word in argv[3:]] == [bytes([97 + n]) for n in range(17)]


def test_argv_read_in_the_middle_of_an_exec_is_not_empty(spawn: Spawn) -> None:
    """The exec has closed its descriptors by then, so everybody believes it to be over."""
    for _ in range(100):
        child = spawn(["/bin/cat"])
        assert identify(child.pid).argv() == (b"/bin/cat",)
        child.kill()


@needs_linux("/proc/PID/stat, which tells where the arguments are")
def test_rewritten_argv_without_final_nul_is_one_argument(spawn: Spawn) -> None:
    """As setproctitle does it: over the arguments and on into the environment."""
    child = spawn(
        python("""
            import ctypes, sys
            fields = open("/proc/self/stat").read().rpartition(")")[2].split()
            start, end, environment = (int(fields[n - 3]) for n in (48, 49, 50))
            title = b"server: idle" + b"." * (end - start - 12)
            ctypes.memmove(start, title, end - start)
            ctypes.memset(environment, 0, 1)
            print(flush=True)
            sys.stdin.readline()
        """)
    )
    read_line(child)
    argv = identify(child.pid).argv()
    assert len(argv) == 1
    assert argv[0].startswith(b"server: idle...")
    assert not argv[0].endswith(b"\0")


@NEEDS_PROC
def test_executable_that_was_deleted_says_so(spawn: Spawn, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o700)
    child = spawn([program, "60"])
    program.unlink()
    assert identify(child.pid).exe() == f"{program} (deleted)"


@NEEDS_PROC
def test_a_kernel_thread_has_neither_arguments_nor_executable() -> None:
    comm = Path("/proc/2/comm")
    if os.geteuid() != 0 or not comm.exists() or comm.read_text() != "kthreadd\n":
        pytest.skip("needs root and a view of the kernel's threads")
    identity = identify(2)
    assert identity.argv() == ()
    with pytest.raises(FileNotFoundError):
        identity.exe()


def test_variables_without_a_value_and_with_equals_signs_are_split_at_the_first(
    spawn: Spawn,
) -> None:
    child = spawn.sleeper(env={"PP_EMPTY": "", "PP_EQUALS": "a=b=c"})
    environ = identify(child.pid).environ()
    assert environ[b"PP_EMPTY"] == b""
    assert environ[b"PP_EQUALS"] == b"a=b=c"


# ----------------------------------------------------------------------- alive, gone, unknown


def test_a_running_process_is_alive_and_a_reaped_one_gone(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    identity = identify(child.pid)
    assert identity.explain() == (Liveness.ALIVE, "it is the same process")
    child.kill()
    child.wait()
    assert identity.explain() == (Liveness.GONE, "no process has its pid")
    with pytest.raises(ProcessGone):
        identity.argv()


def test_a_zombie_is_gone(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    identity = identify(child.pid)
    child.kill()
    wait_until(lambda: state(child.pid) == "Z")
    assert identity.explain() == (Liveness.GONE, "it has exited")
    with pytest.raises(ProcessGone):
        identify(child.pid)
    with pytest.raises(ProcessGone):
        identity.argv()
    with pytest.raises(ProcessGone):
        identity.environ()


@NEEDS_PROC
def test_a_process_whose_first_thread_ended_is_alive(spawn: Spawn, kernel: str) -> None:
    child = spawn(python(LEADER_ENDS))
    identity = identify(child.pid)
    thread = int(read_line(child))
    wait_until(lambda: state(child.pid) == "Z")
    assert identity.liveness() is Liveness.ALIVE
    assert identify(child.pid) == identity
    with pytest.raises(InvalidArgument, match="thread"):
        identify(thread)
    write_line(child, "")
    wait_until(lambda: identity.liveness() is Liveness.GONE)


def test_a_stopped_process_is_alive(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    identity = identify(child.pid)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(child.pid) == "T")
    assert identity.liveness() is Liveness.ALIVE
    assert identify(child.pid) == identity
    child.send_signal(signal.SIGCONT)


def test_exec_leaves_the_process_the_same(spawn: Spawn, kernel: str) -> None:
    child = spawn(python("import os; input(); os.execv('/bin/cat', ['cat', '-u'])"))
    identity = identify(child.pid)
    write_line(child, "")
    wait_until(lambda: identity.argv() == (b"cat", b"-u"))
    assert identity.liveness() is Liveness.ALIVE
    assert identify(child.pid) == identity


def test_an_identity_of_another_boot_is_gone(kernel: str) -> None:
    other = with_fields(identify(os.getpid()), boot_id=BOOT)
    assert other.explain() == (Liveness.GONE, "it belongs to another boot of the machine")


def test_an_identity_of_another_pid_namespace_is_unknown(kernel: str) -> None:
    other = with_fields(identify(os.getpid()), pid_namespace=1)
    assert other.explain() == (Liveness.UNKNOWN, "it was recorded in another pid namespace")
    with pytest.raises(IdentityUnknown):
        other.argv()
    with pytest.raises(IdentityUnknown):
        other.open()


@NEEDS_UNIQUE
def test_unique_id_alone_decides_where_both_sides_have_it(
    without: Callable[[str], None],
) -> None:
    me = identify(os.getpid())
    assert me.unique_id is not None
    assert with_fields(me, unique_id=me.unique_id + 1).liveness() is Liveness.GONE
    assert with_fields(me, start_time=1).liveness() is Liveness.ALIVE
    without("pidfs,unique")
    assert with_fields(me, unique_id=me.unique_id + 1).liveness() is Liveness.ALIVE
    assert with_fields(me, start_time=1).liveness() is Liveness.GONE


def test_another_start_time_is_another_process_where_there_is_no_unique_id(
    kernel: str,
) -> None:
    me = with_fields(identify(os.getpid()), unique_id=0)
    assert me.liveness() is Liveness.ALIVE
    for difference in (-1, 1):
        other = with_fields(me, start_time=me.start_time + difference)
        assert other.explain() == (Liveness.GONE, "another process has its pid by now")


def test_with_nothing_to_compare_it_is_unknown(kernel: str) -> None:
    bare = with_fields(identify(os.getpid()), unique_id=0, start_time=0)
    assert bare.liveness() is Liveness.UNKNOWN
    assert "neither a unique id nor a start time" in bare.explain()[1]


@NEEDS_PROC
@pytest.mark.parametrize("features", ["pidfs", "pidfd"])
def test_one_tick_apart_is_unknown_where_clocks_are_not_exact_to_that(
    without: Callable[[str], None], features: str
) -> None:
    without(features)
    me = with_fields(identify(os.getpid()), unique_id=0)
    _native._host_struct().features |= lib.PP_CLOCK_INEXACT
    assert me.liveness() is Liveness.ALIVE
    for difference in (-1, 1):
        liveness, reason = with_fields(me, start_time=me.start_time + difference).explain()
        assert liveness is Liveness.UNKNOWN
        assert "one clock tick apart" in reason
        assert "nothing" not in reason
    for difference in (-2, 2):
        other = with_fields(me, start_time=me.start_time + difference)
        assert other.explain() == (Liveness.GONE, "another process has its pid by now")


def test_liveness_from_many_threads_at_once(spawn: Spawn, kernel: str) -> None:
    children = [identify(spawn.sleeper().pid) for _ in range(2)]
    gone = with_fields(children[0], boot_id=BOOT)

    def ask(index: int) -> None:
        for _ in range(100):
            assert children[index % 2].liveness() is Liveness.ALIVE
            assert gone.liveness() is Liveness.GONE
            assert identify(children[index % 2].pid) == children[index % 2]

    in_threads(6, ask)


@NEEDS_PROC
def test_out_of_descriptors_is_unknown_and_never_gone(kernel: str) -> None:
    code = """
        import os, resource
        from pidproof.process.identity import identify
        me, parent = identify(os.getpid()), identify(os.getppid())
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        while True:
            try:
                os.dup(0)
            except OSError:
                break
        print(me.liveness().value, parent.explain())
        try:
            identify(os.getppid())
        except PermissionError as error:
            print(type(error).__name__, error)
    """
    out = run(python(code))
    assert out.startswith("unknown")
    assert "EMFILE" in out
    assert "IdentityUnknown" in out


# ------------------------------------------------------------------------------- forced reuse


@NEEDS_SET_TID
@pytest.mark.parametrize("rounds", rounds_of(20, 150, 5000))
def test_a_pid_reused_at_once_is_another_process(kernel: str, rounds: int) -> None:
    if kernel == "without-unique":
        pytest.skip("start times of macOS are in microseconds, those here in ticks")
    has_pidfs = kernel == "newest" and "pidfs" in _native.features()
    same_tick, done = 0, 0
    # On a busy machine few reuses fit into one tick, and under a sanitizer none.
    can_be_same = has_pidfs and not SANITIZED
    while done < rounds or (can_be_same and not same_tick and done < 50 * rounds):
        done += 1
        start_of_tick()
        pid = born()
        first = identify(pid)
        end(pid)
        with bystander(pid):
            second = identify(pid)
            assert first.pid == second.pid
            assert first.explain() == (Liveness.GONE, "another process has its pid by now")
            assert first != second
            with pytest.raises(ProcessGone):
                first.argv()
            same_tick += first.start_time == second.start_time
    # Without pidfs nobody is identified before the tick is over that he began in.
    assert not same_tick or has_pidfs or "proc" not in _native.features()
    assert same_tick or not can_be_same


@NEEDS_PROC
@pytest.mark.parametrize("features", ["pidfs", "pidfd"])
def test_before_pidfs_nobody_is_identified_in_his_first_tick(
    without: Callable[[str], None], features: str
) -> None:
    without(features)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    for _ in range(20):
        pid = born()
        try:
            identity = identify(pid)
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            assert now >= (identity.start_time + 1) * tick
            began = time.monotonic()
            assert identify(pid) == identity
            assert identity.liveness() is Liveness.ALIVE
            assert time.monotonic() - began < 1, "an older one is not waited with"
        finally:
            end(pid)


@NEEDS_SET_TID
@pytest.mark.parametrize("rounds", rounds_of(10, 50, 1000))
def test_a_pid_reused_in_a_later_tick_is_another_process(kernel: str, rounds: int) -> None:
    for _ in range(rounds):
        pid = born()
        first = identify(pid)
        end(pid)
        next_tick()
        with bystander(pid):
            assert first.explain() == (Liveness.GONE, "another process has its pid by now")
            assert first != identify(pid)


# --------------------------------------------------------------------------------- namespaces


@NEEDS_NAMESPACES
def test_a_token_means_nothing_in_another_pid_namespace(kernel: str) -> None:
    token = str(identify(os.getpid()))
    new_namespace = ["unshare", "-p", "-f", "--mount-proc"]
    liveness, why = json.loads(run([*new_namespace, *python(EXPLAIN, token)]))
    assert (liveness, why) == ("unknown", "it was recorded in another pid namespace")


@NEEDS_NAMESPACES
def test_a_process_inside_a_pid_namespace_is_not_judged_from_outside(
    spawn: Spawn, kernel: str
) -> None:
    code = """
        import os, sys
        from pidproof.process.identity import identify
        print(identify(os.getpid()), flush=True)
        sys.stdin.readline()
    """
    child = spawn(["unshare", "-p", "-f", "--mount-proc", *python(code)])
    token = read_line(child)
    inside = ProcessIdentity.parse(token)
    assert inside.pid == 1
    assert inside.liveness() is Liveness.UNKNOWN
    write_line(child, "")
    child.wait()
    assert inside.liveness() is Liveness.UNKNOWN


@NEEDS_NAMESPACES
@pytest.mark.parametrize("features", list(KERNELS.values()), ids=list(KERNELS))
def test_a_foreign_proc_is_never_believed(features: str) -> None:
    """In the namespace pid 1 is ours, in its /proc pid 1 is the machine's init."""
    code = """
        import json, os
        from pidproof.errors import IdentityUnknown
        from pidproof.process.identity import identify
        from pidproof.process.scan import find
        answers = []
        try:
            me = identify(os.getpid())
            answers += [me.liveness().value, me.start_time]
            try:
                me.argv()
            except IdentityUnknown:
                answers.append("argv unknown")
        except IdentityUnknown as error:
            answers.append("unknown")
        try:
            find()
        except IdentityUnknown:
            answers.append("find unknown")
        print(json.dumps(answers))
    """
    env = {**os.environ, "PIDPROOF_WITHOUT": features}
    answers = json.loads(run(["unshare", "-p", "-f", *python(code)], env=env))
    if "pidfs" in _native.features() and not features:
        assert answers == ["alive", 0, "argv unknown", "find unknown"]
    else:
        assert answers == ["unknown", "find unknown"]


@NEEDS_NAMESPACES
def test_without_proc_nothing_is_claimed(kernel: str) -> None:
    token = str(identify(os.getpid()))
    code = """
        import ctypes, os, sys
        from pidproof.process.identity import ProcessIdentity, identify
        while ctypes.CDLL(None).umount2(b"/proc", 2) == 0:
            pass  # in a container one can lie upon another
        print(ProcessIdentity.parse(sys.argv[1]).explain())
        try:
            identify(os.getpid())
        except PermissionError as error:
            print(type(error).__name__)
    """
    first, second = run(["unshare", "-m", *python(code, token)]).splitlines()
    assert "UNKNOWN" in first
    assert "ENOENT" in first
    assert second == "IdentityUnknown"


@NEEDS_TIME_NAMESPACES
@pytest.mark.parametrize("offset", ["1000", "-1"])
def test_a_time_namespace_changes_no_identity(kernel: str, offset: str) -> None:
    token = str(identify(os.getpid()))
    inside = ["unshare", "-T", "--boottime", offset, "--monotonic", offset]
    code = """
        import os, sys
        from pidproof.process.identity import ProcessIdentity, identify
        theirs = ProcessIdentity.parse(sys.argv[1])
        print(theirs.liveness().value, identify(theirs.pid) == theirs)
    """
    assert run([*inside, *python(code, token)]).split() == ["alive", "True"]


@NEEDS_NOBODY
@NEEDS_NAMESPACES
def test_what_hidepid_hides_is_unknown_and_not_gone(kernel: str) -> None:
    token = str(identify(os.getpid()))
    drop = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
    code = """
        import os, sys
        from pidproof.errors import IdentityUnknown
        from pidproof.process.identity import ProcessIdentity, identify
        theirs = ProcessIdentity.parse(sys.argv[1])
        print(theirs.liveness().value)
        for act in (theirs.argv, theirs.environ, theirs.exe, lambda: identify(theirs.pid)):
            try:
                print(act())
            except IdentityUnknown as error:
                print("unknown:", error)
    """
    script = f'mount -t proc -o hidepid=2 proc /proc && exec {drop} "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", *python(code, token)]
    lines = run(command).splitlines()
    assert lines[0] == ("alive" if identify(os.getpid()).unique_id else "unknown")
    assert [line.partition(":")[0] for line in lines[1:]] == ["unknown"] * 4
    assert "Permission denied" in lines[-1]


@NEEDS_PROC
@NEEDS_NOBODY
def test_the_environment_of_another_user_is_unknown(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    code = """
        import sys
        from pidproof.errors import IdentityUnknown
        from pidproof.process.identity import identify
        theirs = identify(int(sys.argv[1]))
        print(theirs.liveness().value, theirs.uid, len(theirs.argv()))
        for act in (theirs.environ, theirs.exe):
            try:
                print(act())
            except IdentityUnknown as error:
                print("unknown:", error)
    """
    lines = run([*drop, *python(code, str(child.pid))]).splitlines()
    assert lines[0] == f"alive {os.getuid()} {len(identify(child.pid).argv())}"
    assert [line.partition(":")[0] for line in lines[1:]] == ["unknown"] * 2


@NEEDS_ROOT
def test_uid_is_the_real_one_of_the_process(spawn: Spawn, kernel: str) -> None:
    child = spawn(["/bin/cat"], user=NOBODY)
    assert identify(child.pid).uid == NOBODY


# ------------------------------------------------------------------------------------- tokens


def test_token_comes_back_equal(kernel: str) -> None:
    me = identify(os.getpid())
    again = ProcessIdentity.parse(str(me))
    assert again == me
    assert hash(again) == hash(me)
    assert str(again) == str(me)
    assert again.uid is None
    assert again.liveness() is Liveness.ALIVE
    assert eval(repr(me)) == me
    assert pickle.loads(pickle.dumps(me)) == me
    assert {me: 1}[again] == 1


def test_token_is_the_form_that_is_documented() -> None:
    identity = ProcessIdentity.parse(f"  {TOKEN}\n")
    assert identity.pid == 42
    assert identity.start_time == 1000
    assert identity.boot_id == BOOT
    assert identity.pid_namespace == 4026531836
    assert identity.unique_id == 7
    assert str(identity) == TOKEN


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "42",
        "pidproof",
        "pidproof:",
        "pidproof:1",
        "pidproof:1:42",
        f"pidproof:1:42:1000:{BOOT}:1",
        f"{TOKEN}:",
        f"{TOKEN}:1",
        f"{TOKEN} x",
        f"{TOKEN}\n{TOKEN}",
        f"{TOKEN}\0",
        f"x{TOKEN}",
        TOKEN.upper(),
        TOKEN.replace("pidproof:1:", "pidproof:0:"),
        TOKEN.replace("pidproof:1:", "pidproof:2:"),
        TOKEN.replace("pidproof:1:", "pidproof:01:"),
        TOKEN.replace("pidproof:1:", "pidproof:-1:"),
        TOKEN.replace("pidproof:1:", "pidproof::"),
        TOKEN.replace(":42:", ":0:"),
        TOKEN.replace(":42:", ":-42:"),
        TOKEN.replace(":42:", ":+42:"),
        TOKEN.replace(":42:", ": 42:"),
        TOKEN.replace(":42:", ":042:"),
        TOKEN.replace(":42:", ":0x2a:"),
        TOKEN.replace(":42:", ":2147483648:"),
        TOKEN.replace(":42:", "::"),
        TOKEN.replace(":42:", ":٤٢:"),
        TOKEN.replace(":1000:", ":18446744073709551616:"),
        TOKEN.replace(":1000:", ":1e3:"),
        TOKEN.replace(BOOT, BOOT[:-1]),
        TOKEN.replace(BOOT, BOOT + "0"),
        TOKEN.replace(BOOT, BOOT.replace("-", "0")),
        TOKEN.replace(BOOT, BOOT.replace("f", "g")),
        TOKEN.replace(BOOT, BOOT.upper()),
        TOKEN.replace(BOOT, BOOT.replace("f", "F")),
        TOKEN.replace(":7", ":"),
        TOKEN.replace(":7", ":7.0"),
        "42:",
        ":42",
        "42:0",
        "0:42",
        "-1:42",
        "2147483648:1",
        "1:18446744073709551616",
        "1:-1",
        "1:²",
        "9" * 5000 + ":1",
        "1:" + "9" * 5000,
    ],
)
def test_a_malformed_token_is_a_clear_error(token: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        ProcessIdentity.parse(token)
    assert "not a process token" in str(caught.value)
    assert caught.value.remedy
    assert isinstance(caught.value, ValueError)


def test_a_token_of_a_later_version_says_so() -> None:
    with pytest.raises(InvalidToken, match="of this version"):
        ProcessIdentity.parse(TOKEN.replace("pidproof:1:", "pidproof:2:"))


@given(st.text() | st.text(alphabet="pidrof:0123456789abcdef-\0\n "))
def test_any_text_is_a_token_or_an_invalid_one(text: str) -> None:
    try:
        identity = ProcessIdentity.parse(text)
    except InvalidToken:
        return
    assert ProcessIdentity.parse(str(identity)) == identity


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_token_with_one_character_changed_never_reads_back_as_the_old_one(
    at: int, character: str
) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    try:
        identity = ProcessIdentity.parse(changed)
    except InvalidToken:
        return
    assert str(identity) == changed.strip()


@given(
    st.integers(1, 2**31 - 1),
    st.integers(0, 2**64 - 1),
    st.uuids(),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_every_token_in_range_reads_back(
    pid: int, start: int, boot: object, namespace: int, unique: int
) -> None:
    token = f"pidproof:1:{pid}:{start}:{boot}:{namespace}:{unique}"
    identity = ProcessIdentity.parse(token)
    assert str(identity) == token
    assert (identity.pid, identity.start_time, identity.pid_namespace) == (
        pid,
        start,
        namespace,
    )
    assert identity.unique_id == (unique or None)


@NEEDS_PIDFS
def test_pid_and_inode_as_systemd_writes_them_name_a_process(spawn: Spawn) -> None:
    child = spawn.sleeper()
    identity = identify(child.pid)
    named = ProcessIdentity.parse(f"{child.pid}:{identity.unique_id}")
    assert named == identity
    assert named.liveness() is Liveness.ALIVE
    child.kill()
    child.wait()
    assert named.liveness() is Liveness.GONE
    assert identity.unique_id is not None
    stranger = ProcessIdentity.parse(f"{os.getpid()}:{identity.unique_id}")
    assert stranger.liveness() is Liveness.GONE


def test_pid_and_inode_are_refused_where_the_kernel_has_no_pidfs(
    without: Callable[[str], None],
) -> None:
    without("pidfs")
    with pytest.raises(InvalidToken, match="kernel does not have"):
        ProcessIdentity.parse("42:7")


def test_equality_needs_pid_boot_namespace_and_one_more_proof() -> None:
    one = ProcessIdentity.parse(TOKEN)
    assert one != with_fields(one, pid=43)
    assert one != with_fields(one, boot_id=BOOT.replace("0", "1"))
    assert one != with_fields(one, pid_namespace=1)
    assert one != with_fields(one, unique_id=8)
    assert one == with_fields(one, start_time=999), "the unique id decides alone"
    assert one == with_fields(one, unique_id=0)
    assert one != with_fields(one, unique_id=0, start_time=999)
    nothing = with_fields(one, unique_id=0, start_time=0)
    assert nothing != with_fields(one, unique_id=0, start_time=0)
    assert one != TOKEN


def test_errors_carry_their_facts_through_pickle(spawn: Spawn) -> None:
    child = spawn.sleeper()
    child.kill()
    child.wait()
    with pytest.raises(ProcessGone) as caught:
        identify(child.pid)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ProcessGone
    assert str(again) == str(caught.value)
    assert again.__dict__["pid"] == child.pid


def test_reasons_name_the_errno() -> None:
    assert "EACCES" in _native.reason_text(-errno.EACCES)


def test_nothing_is_read_at_import() -> None:
    """A tool that only parses tokens works in the barest sandbox."""
    code = """
        import sys
        from pidproof.process.identity import ProcessIdentity
        from pidproof import _native
        assert _native._host is None
        print(ProcessIdentity.parse(sys.argv[1]).pid)
    """
    assert run(python(code, TOKEN)).strip() == "42"


def test_a_forked_child_reads_its_own_world(kernel: str) -> None:
    mine = _native.pid_namespace()
    child = os.fork()
    if child == 0:
        ok = _native._host is None and identify(os.getpid()).pid == os.getpid()
        os._exit(0 if ok and _native.pid_namespace() == mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@NEEDS_NAMESPACES
def test_a_child_born_into_a_new_pid_namespace_is_unknown_here() -> None:
    """The parent asks by its own number, so it gets its own child and a judgeable identity."""
    child = subprocess.Popen(
        ["unshare", "-p", "-f", sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    )
    try:
        wait_until(lambda: len(psutil.Process(child.pid).children()) == 1)
        inner = psutil.Process(child.pid).children()[0].pid
        identity = identify(inner)
        assert identity.pid_namespace == _native.pid_namespace()
        assert identity.liveness() is Liveness.ALIVE
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def test_ctypes_and_libc_agree_on_the_size_of_a_pid() -> None:
    assert ctypes.sizeof(ctypes.c_int32) == 4
