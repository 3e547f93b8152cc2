# SPDX-License-Identifier: MIT
"""The promises of docs/protocol.md, each broken once on purpose, and the test that must notice.

`old` stands in `file` exactly once, so that the list is kept in step with the code.
"""

from __future__ import annotations

from typing import NamedTuple


class Breakage(NamedTuple):
    """One act that is left out, or done wrongly."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


LOCK = "tests/lock/test_spawn_lock.py::test_"
IDENTITY = "tests/process/test_identity.py::test_"
SERVER = "tests/server/test_"
INTERRUPTS = "tests/test_interrupts.py::test_"

IN_C = (
    Breakage(
        "the guard is not taken",
        "csrc/lock.c",
        "    r = pp_guard_enter(directory_fd, guard_timeout, guard);\n"
        "    if (r < 0)\n        return r;\n",
        "",
        (f"{LOCK}nobody_takes_the_lock_while_another_is_fenced[newest]",),
    ),
    Breakage(
        "a section that was cut short keeps its owner out",
        "csrc/guard.c",
        "    pp_guard_leave(guard);\n",
        "",
        (f"{LOCK}a_section_that_an_interrupt_cut_short_keeps_nobody_out",),
    ),
    Breakage(
        "the life flock is not taken",
        "csrc/lock.c",
        "        r = nerrno(flock(lock->fd, LOCK_EX | LOCK_NB));\n",
        "        r = 0;\n",
        (f"{LOCK}a_live_holder_is_named_in_time[newest]",),
    ),
    Breakage(
        "the life flock is not looked at",
        "csrc/lock.c",
        "    if (flock(fd, LOCK_EX | LOCK_NB) == 0)\n",
        "    errno = EWOULDBLOCK;\n    if (host->tick == 0)\n",
        (f"{LOCK}the_lock_of_a_holder_that_execed_is_abandoned[newest]",),
    ),
    Breakage(
        "a lock is taken from a holder of whom nothing is proven",
        "csrc/lock.c",
        "    if (holder->liveness == PP_GONE)\n",
        "    if (holder->liveness != PP_ALIVE)\n",
        (f"{LOCK}a_held_file_that_says_nothing_is_waited_for[newest]",),
    ),
    Breakage(
        "a lock is taken before its deadline",
        "csrc/lock.c",
        "host_now(host) > holder->deadline",
        "host_now(host) > holder->since",
        (f"{LOCK}a_holder_is_not_deposed_before_its_deadline",),
    ),
    Breakage(
        "the nonce is not compared at the release",
        "csrc/lock.c",
        "memcmp(holder.nonce, lock->nonce, PP_NONCE_SIZE) == 0",
        "holder.nonce[0] != 0",
        (f"{LOCK}a_lock_file_that_was_rewritten_in_place_is_not_ours",),
    ),
    Breakage(
        "a lock file that is there is taken over",
        "csrc/lock.c",
        "O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600",
        "O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600",
        (
            "tests/lock/test_exclusive.py::"
            "test_a_lock_file_that_appears_right_before_it_is_created_is_left_alone",
        ),
    ),
    Breakage(
        "the lock is inherited over an exec",
        "csrc/lock.c",
        "O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600",
        "O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600",
        (f"{LOCK}the_lock_of_a_holder_that_execed_is_abandoned[newest]",),
    ),
    Breakage(
        "a signal is sent by number",
        "csrc/signal_linux.c",
        "    if (fd < 0)\n        return nerrno(kill(identity->pid, signal_number));\n",
        "    if (scope == PP_SCOPE_PROCESS)\n"
        "        return nerrno(kill(identity->pid, signal_number));\n",
        ("tests/process/test_handle.py::test_a_held_handle_never_reaches_the_one_who_got_the_pid",),
    ),
    Breakage(
        "the start time is not compared",
        "csrc/identity_linux.c",
        "    if (distance == 0)\n",
        "    if (distance < UINT64_MAX)\n",
        (f"{IDENTITY}another_start_time_is_another_process_where_there_is_no_unique_id[newest]",),
    ),
    Breakage(
        "the inode of the pidfd is not compared",
        "csrc/identity_linux.c",
        "        if (st.st_ino != identity->unique_id)\n",
        "        if (st.st_ino == 0)\n",
        (f"{IDENTITY}unique_id_alone_decides_where_both_sides_have_it",),
    ),
    Breakage(
        "the boot is not compared",
        "csrc/judging.c",
        "    if (strncmp(identity->boot_id, host->boot_id, PP_BOOT_ID_SIZE) != 0)\n",
        "    if (host->boot_id[0] == 0)\n",
        (f"{IDENTITY}an_identity_of_another_boot_is_gone[newest]",),
    ),
    Breakage(
        "the pid namespace is not compared",
        "csrc/judging.c",
        "    if (identity->pid_namespace != host->pid_namespace)\n",
        "    if (host->pid_namespace == 0)\n",
        (f"{IDENTITY}an_identity_of_another_pid_namespace_is_unknown[newest]",),
    ),
    Breakage(
        "a zombie is taken for alive",
        "csrc/identity_linux.c",
        "        return answer(PP_GONE, PP_EXITED, ret_reason);\n    if (liveness == PP_UNKNOWN)\n",
        "        return answer(PP_ALIVE, 0, ret_reason);\n    if (liveness == PP_UNKNOWN)\n",
        (f"{IDENTITY}a_zombie_is_gone[newest]",),
    ),
    Breakage(
        "a child does not wait at the gate",
        "csrc/gate.c",
        "    wait_at_gate(plan);\n",
        "    if (plan->parent == 0)\n        wait_at_gate(plan);\n",
        ("tests/native/test_gate.py::test_a_gate_that_is_closed_ends_the_child_without_exec",),
    ),
)

IN_PYTHON = (
    Breakage(
        "a machine whose id cannot be read just now is another machine",
        "src/pidproof/server/paths.py",
        "        machine = _native.machine_id()\n    except OSError as error:\n",
        "        machine = _native.machine_id()\n    except OSError:\n        machine = None\n"
        "    except KeyError as error:\n",
        (f"{SERVER}paths.py::test_out_of_descriptors_the_machine_has_no_other_name",),
    ),
    Breakage(
        "the gate is opened before the record names the child",
        "src/pidproof/server/attempt.py",
        "        with fenced(self.job.lock, self.job.directory, before):\n"
        "            records.write(self.job.directory, self.record)\n",
        "        assert before\n",
        (f"{SERVER}start.py::test_the_record_names_the_server_before_it_runs",),
    ),
    Breakage(
        "acts on the record are not fenced",
        "src/pidproof/server/fence.py",
        "    with lock.fenced():\n",
        "    yield\n    return\n    with lock.fenced():\n",
        (
            f"{SERVER}fence.py::test_a_start_that_loses_the_lock_changes_nothing_more",
            f"{SERVER}fence.py::test_a_stop_that_loses_the_lock_leaves_the_record",
            f"{SERVER}fence.py::test_inside_the_fence_the_guard_is_held",
        ),
    ),
    Breakage(
        "the fence does not look at the record",
        "src/pidproof/server/record.py",
        "        return other is not None and self.nonce == other.nonce\n",
        "        return other is not None\n",
        (f"{SERVER}terminate.py::test_a_record_that_was_replaced_protects_its_process",),
    ),
    Breakage(
        "the fence does not look at the lock",
        "src/pidproof/lock/spawn_lock.py",
        "            if not mine:\n",
        "            if mine is None:\n",
        (f"{SERVER}terminate.py::test_a_lock_that_was_taken_over_protects_the_process",),
    ),
    Breakage(
        "under the lock the record is not looked at again",
        "src/pidproof/server/locked.py",
        "    previous = read_record(job.directory, job.spec.key)\n",
        "    previous: Record | None = None\n",
        (
            f"{SERVER}fence.py"
            "::test_what_a_peer_started_just_before_the_lock_was_free_is_found_under_it",
        ),
    ),
    Breakage(
        "a server is taken for ended once SIGTERM is sent",
        "src/pidproof/server/terminate.py",
        "    if handle.wait(grace):\n",
        "    if grace > 0:\n",
        (f"{SERVER}terminate.py::test_one_that_ignores_sigterm_is_killed_after_the_grace",),
    ),
    Breakage(
        "the end of a server is not announced",
        "src/pidproof/server/terminate.py",
        "            records.write(directory, record.with_(state=records.ENDING))\n",
        "            return\n",
        (f"{SERVER}fence.py::test_the_end_of_a_server_is_announced_before_its_first_signal",),
    ),
    Breakage(
        "a stranger's port counts as the server's",
        "src/pidproof/server/listener.py",
        'get(b"PIDPROOF_NONCE") == nonce.encode()\n',
        'get(b"PIDPROOF_NONCE") != nonce.encode()\n',
        (f"{SERVER}listener.py::test_a_socket_of_a_stranger_names_him",),
    ),
    Breakage(
        "a server that is handed over is never reaped",
        "src/pidproof/server/spawn.py",
        "        children.keep(self)\n",
        "",
        (f"{SERVER}ensure.py::test_a_child_that_ends_after_it_was_handed_over_leaves_no_zombie",),
    ),
    Breakage(
        "a start that failed leaves its child",
        "src/pidproof/server/attempt.py",
        "            end_server(job.lock, job.directory, record, grace=grace)\n",
        "            assert grace >= 0\n",
        (f"{SERVER}start.py::test_a_launcher_that_is_interrupted_leaves_nothing",),
    ),
    Breakage(
        "a second signal cuts the cleaning short",
        "src/pidproof/interrupts.py",
        "        self._holds = True\n        self._before",
        "        self._before",
        (f"{INTERRUPTS}of_those_that_come_together_the_others_wait_until_the_first_is_dealt_with",),
    ),
    Breakage(
        "unknown is taken for gone",
        "src/pidproof/server/locked.py",
        "        if liveness is Liveness.UNKNOWN:\n",
        "        if liveness is None:\n",
        (f"{SERVER}unknown.py::test_nothing_is_started_and_nothing_ended",),
    ),
)

BREAKAGES = IN_C + IN_PYTHON
