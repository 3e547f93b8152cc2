# SPDX-License-Identifier: MIT
"""Who a process is, against a kernel whose every answer the test decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pidproof import _native
from pidproof.errors import IdentityUnknown, ProcessGone
from pidproof.process.identity import ProcessIdentity, identify
from pidproof.process.liveness import Liveness


if TYPE_CHECKING:
    from darwin.kernel import Kernel, Process

pytestmark = pytest.mark.darwin

EPERM, EINVAL = 1, 22
SAME = (Liveness.ALIVE, "it is the same process")
OTHER = (Liveness.GONE, "another process has its pid by now")
EXITED = (Liveness.GONE, "it has exited")


def start_of(process: Process) -> int:
    return process.start_seconds * 1_000_000 + process.start_microseconds


def test_identity_is_what_the_kernel_says(kernel: Kernel) -> None:
    process = kernel.process()
    process.real_uid = 502
    identity = identify(process.pid)
    assert identity.unique_id == process.unique_id
    assert identity.start_time == start_of(process)
    assert identity.uid == 502, "the real one"
    assert identity.pid_namespace == 0
    assert identity.explain() == SAME


def test_the_boot_session_is_in_lower_case_as_in_every_token(kernel: Kernel) -> None:
    kernel.lib.xnu_set_boot(b"0A1B2C3D-0000-4000-8000-ABCDEFABCDEF")
    _native._forget_host()
    process = kernel.process()
    identity = identify(process.pid)
    assert identity.boot_id == "0a1b2c3d-0000-4000-8000-abcdefabcdef"
    assert ProcessIdentity.parse(str(identity)).explain() == SAME


@pytest.mark.parametrize(
    "boot", [b"", b"0A1B2C3D-0000-4000-8000-ABCDEFABCDE"], ids=["none", "short"]
)
def test_a_boot_session_that_is_none_is_unknown(kernel: Kernel, boot: bytes) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    kernel.lib.xnu_set_boot(boot or b" ")
    _native._forget_host()
    assert identity.liveness() is Liveness.UNKNOWN


def test_another_boot_is_gone_though_all_else_is_equal(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    kernel.lib.xnu_set_boot(b"0A1B2C3D-0000-4000-8000-ABCDEFABCDEF")
    _native._forget_host()
    assert identity.explain() == (Liveness.GONE, "it belongs to another boot of the machine")


def test_a_missing_pid_is_gone(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    process.is_reaped()
    assert identity.explain() == (Liveness.GONE, "no process has its pid")
    with pytest.raises(ProcessGone):
        identify(process.pid)


def test_a_zombie_has_exited_and_is_still_known_by_its_number(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    process.dies()
    assert identity.explain() == EXITED
    with pytest.raises(ProcessGone):
        identify(process.pid)
    assert process.is_replaced().pid == identity.pid
    assert identity.explain() == OTHER


def test_a_zombie_of_another_process_is_told_from_ours(kernel: Kernel) -> None:
    """Flavor 17 has to be asked for zombies too: else both would have no number."""
    process = kernel.process()
    identity = identify(process.pid)
    other = process.is_replaced()
    other.start_seconds, other.start_microseconds = divmod(identity.start_time, 1_000_000)
    other.dies()
    assert identity.explain() == OTHER


def test_what_is_on_the_way_to_a_zombie_has_exited(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    process.is_exiting()
    assert identity.explain() == EXITED
    assert _native.status(process.pid)[0] == "X"
    with pytest.raises(ProcessGone):
        identify(process.pid)


def test_a_process_of_another_user_is_known_all_the_same(kernel: Kernel) -> None:
    process = kernel.process()
    process.effective_uid = process.real_uid = 0
    identity = identify(process.pid)
    assert identity.uid == 0
    assert identity.unique_id == process.unique_id
    assert identity.explain() == SAME


def test_a_pid_reused_within_one_microsecond_is_another_process(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    other = process.is_replaced()
    other.start_seconds, other.start_microseconds = divmod(identity.start_time, 1_000_000)
    assert identity.explain() == OTHER
    assert identity != identify(process.pid)


def test_the_clock_may_be_set_back(kernel: Kernel) -> None:
    """The start time is of the wall clock; that it can come twice is no matter with a number."""
    process = kernel.process()
    identity = identify(process.pid)
    other = process.is_replaced()
    other.start_seconds -= 1000
    assert identity.explain() == OTHER


def test_without_a_number_the_start_time_decides_to_the_microsecond(kernel: Kernel) -> None:
    kernel.lacks(unique=True)
    process = kernel.process()
    identity = identify(process.pid)
    assert identity.unique_id is None
    assert identity.start_time == start_of(process)
    assert identity.explain() == SAME
    process.start_microseconds += 1
    assert identity.explain() == OTHER
    process.start_microseconds -= 1
    process.dies()
    assert identity.explain() == EXITED


@pytest.mark.parametrize("number", [EPERM, EINVAL])
def test_where_the_number_is_refused_the_start_time_decides(kernel: Kernel, number: int) -> None:
    """As a sandbox may: of one process, or of all from some moment on."""
    process = kernel.process()
    before = identify(process.pid)
    process.unique_errno = number
    after = identify(process.pid)
    assert after.unique_id is None
    assert before == after
    assert before.explain() == after.explain() == SAME
    process.start_microseconds += 1
    assert before.explain() == after.explain() == OTHER


def test_a_process_that_is_being_forked_is_not_there_yet(kernel: Kernel) -> None:
    process = kernel.process()
    process.state = 1  # SIDL
    with pytest.raises(ProcessGone):
        identify(process.pid)


def test_an_answer_of_another_size_is_not_believed(kernel: Kernel) -> None:
    process = kernel.process()
    kernel.lib.xnu_set_raw(process.pid, b"", 0, b"\xee" * 48, 48)
    assert identify(process.pid).unique_id is None


# ------------------------------------------------------- the pid changes hands between two reads


@pytest.mark.parametrize("number", range(8))
def test_a_pid_reused_inside_identify_never_gives_a_mixture(kernel: Kernel, number: int) -> None:
    first = kernel.process()
    known = {(first.unique_id, start_of(first), 501)}

    def reuse() -> None:
        second = first.is_replaced()
        second.real_uid = 502
        known.add((second.unique_id, start_of(second), 502))

    kernel.at(number, reuse)
    identity = identify(first.pid)
    assert (identity.unique_id, identity.start_time, identity.uid) in known


@pytest.mark.parametrize("number", range(8))
def test_a_pid_reused_inside_a_comparison_is_alive_only_if_it_was_later(
    kernel: Kernel, number: int
) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    kernel.at(number, process.is_replaced)
    answer = identity.explain()
    # Three answers make one comparison: number, facts, number.
    assert answer == (OTHER if number < 3 else SAME)
    if number >= 3:
        assert len(kernel.calls) == 3


@pytest.mark.parametrize("number", range(8))
def test_a_death_inside_a_comparison_is_never_unknown(kernel: Kernel, number: int) -> None:
    for act in ("dies", "is_exiting", "is_reaped"):
        process = kernel.process()
        identity = identify(process.pid)
        kernel.at(number, getattr(process, act))
        liveness, why = identity.explain()
        assert liveness is not Liveness.UNKNOWN, why


def test_a_pid_that_changes_hands_at_every_look_is_unknown_and_the_look_ends(
    kernel: Kernel,
) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    kernel.every("KERN_PROC_PID", process.is_replaced)
    liveness, why = identity.explain()
    assert (liveness, "EAGAIN" in why) == (Liveness.UNKNOWN, True)
    with pytest.raises(IdentityUnknown):
        identify(process.pid)
    assert len(kernel.calls) < 100


def test_status_tells_parent_group_session_and_exec(kernel: Kernel) -> None:
    process = kernel.process()
    process.parent, process.group, process.session = 7, 8, 9
    assert _native.status(process.pid) == ("R", 7, 8, 9, 0, True)
    process.flags = 0x4
    process.state = 4  # SSTOP
    assert _native.status(process.pid) == ("T", 7, 8, 9, 0, False)
    process.dies()
    assert _native.status(process.pid)[0] == "Z"
