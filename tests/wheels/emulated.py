# SPDX-License-Identifier: MIT
"""A pytest plugin: skip what qemu-user does otherwise than a kernel, each with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Sequence

# Tells a process from another only where there is no pidfs.
OWN_START_TIME = "a process reads another start time of itself than others read of it"
# Each was seen with qemu 7.2, and passes on the same machine without it.
ARTEFACTS: dict[str, Sequence[str]] = {
    "it stands first in the argv that others read, and is what exe links to": (
        "test_a_program_file_with_a_hostile_name_is_read_whole",
        "test_argv_comes_back_as_it_was_given",
        "test_argv_of_two_mebibytes_comes_back_whole",
        "test_argv_read_in_the_middle_of_an_exec_is_not_empty",
        "test_exec_leaves_the_process_the_same",
        "test_executable_that_was_deleted_says_so",
        "test_rewritten_argv_without_final_nul_is_one_argument",
    ),
    OWN_START_TIME: (
        "test_a_fork_may_take_the_lock_for_itself",
        "test_a_live_holder_is_named_in_time",
        "test_a_stopped_holder_is_alive",
        "test_a_time_namespace_changes_no_identity",
        "test_a_timeout_of_nothing_tries_once",
        "test_an_aged_holder_is_deposed_and_changes_nothing_after",
        "test_death_of_the_holder_wakes_the_one_who_waits",
        "test_exec_of_the_holder_wakes_the_one_who_waits",
        "test_many_that_time_out_together_all_name_the_holder",
        "test_never_two_inside_while_holders_and_waiters_are_killed",
        "test_nobody_takes_the_lock_while_another_is_fenced",
        "test_release_wakes_the_one_who_waits",
        "test_the_lock_of_a_holder_that_execed_is_abandoned",
        "test_threads_of_one_process_exclude_one_another",
    ),
    "clone takes no CLONE_PIDFD, so the child has no pidfd": (
        "test_no_descriptors_no_child",
        "test_pid_fd_pins_the_child",
    ),
    "it has a thread of its own in every process": (
        "test_a_child_at_the_gate_is_a_process_and_runs_nothing",
        "test_a_place_in_line_sleeps_once_and_wakes",
        "test_a_zombie_is_gone",
        "test_ctrl_c_ends_a_wait_at_once_and_leaves_nothing",
    ),
    "it catches signals itself, from the start of a program on": (
        "test_a_child_has_default_signals_and_an_empty_mask",
        "test_a_signal_with_a_handler_does_not_end_the_wait",
        "test_group_signal_reaches_the_whole_group",
        "test_signal_arrives",
        "test_terminate_kills_what_ignores_sigterm_after_the_grace",
    ),
    "the memory of a thread that was cancelled is not given back": (
        "test_waiter_without_leak",
        "test_woken_waiter_without_leak",
        "test_waiting_without_descriptors_keeps_none",
    ),
    "what it translates counts as memory of the process": (
        "test_searching_without_descriptors_keeps_none",
    ),
    "prctl takes no seccomp filter": ("test_a_filter_that_denies_pidfds_leaves_the_fallback",),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them."""
    for item in items:
        name = getattr(item, "originalname", item.name)
        for reason, names in ARTEFACTS.items():
            if name in names and (reason != OWN_START_TIME or "without-" in item.name):
                item.add_marker(pytest.mark.skip(reason=f"qemu: {reason}"))
