# SPDX-License-Identifier: MIT
"""What may be wrong in the sources for macOS is put in, one by one, and each time a test fails."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from darwin import world
from helpers import ROOT


if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future


pytestmark = [
    pytest.mark.darwin,
    pytest.mark.skipif(world.zig_library() is None, reason="needs ziglang"),
]

HERE = Path(__file__).parent
FACTS, HOST = "facts_darwin.c", "host_darwin.c"
SIGNAL, IDENTITY = "signal_darwin.c", "identity_darwin.c"
PARSE, ARGUMENTS, READ = "procargs.c", "arguments_darwin.c", "read_darwin.c"
LISTENER = "listener_darwin.c"

# What is wrong, where, and which tests are to find it.
MUTANTS = {
    # identity
    "zombies are not asked for": (FACTS, "WITH_ZOMBIES 1", "WITH_ZOMBIES 0", "identity"),
    "the number of the parent": (
        FACTS,
        "= info.unique_id;",
        "= info.parent_unique_id;",
        "identity",
    ),
    "the effective uid for the real": (FACTS, "e_pcred.p_ruid;", "e_ucred.cr_uid;", "identity"),
    "whole seconds": (FACTS, " + (uint64_t) start->tv_usec", "", "identity"),
    "no second look at the number": (FACTS, "r == 0 && before == after", "r == 0", "identity"),
    "the flag of an exit is not seen": (
        *(FACTS, " || (info.kp_proc.p_flag & P_WEXIT) != 0", "", "identity"),
    ),
    "nobody is somebody": (
        *(FACTS, "size < sizeof(info) || info.kp_proc.p_pid != pid", "0", "identity"),
    ),
    "an answer of any size": (FACTS, "size != (int) sizeof(info)", "0", "identity"),
    "numbers are not compared": (
        *(FACTS, "identity->unique_id != facts->unique_id", "0", "identity"),
    ),
    "start times are not compared": (
        *(FACTS, "identity->start_time != facts->start_time", "0", "identity"),
    ),
    "boots are not compared": (
        *("judging.c", "strncmp(identity->boot_id, host->boot_id, PP_BOOT_ID_SIZE) != 0", "0"),
        "identity",
    ),
    "the boot in upper case": (HOST, "text[i] >= 'A' && text[i] <= 'F'", "0", "identity"),
    "a zombie is identified": (
        IDENTITY,
        "    if (facts.is_exiting)\n        return -ESRCH;\n",
        "",
        "identity",
    ),
    # signals
    "by number though there are tokens": (
        *(SIGNAL, "!(host->features & PP_HAS_AUDIT) ||", "1 ||", "signal"),
    ),
    "the version is not in the token": (SIGNAL, "token.val[7] = facts.version;", "", "signal"),
    "the version in another place": (SIGNAL, "token.val[7]", "token.val[6]", "signal"),
    "an exec is taken for an exit": (SIGNAL, "later.version == facts.version", "1", "signal"),
    "no proof before a signal by number": (
        *(
            SIGNAL,
            "    r = prove(host, identity, &facts);\n    if (r < 0)\n        return r;\n"
            "    return nerrno(kill",
            "    r = 0, (void) facts, (void) host;\n    return nerrno(kill",
            "signal",
        ),
    ),
    "no proof of the leader": (SIGNAL, "r == PP_GONE && reason != PP_EXITED", "0", "signal"),
    "a group of zombies is forbidden": (SIGNAL, "r == -EPERM &&", "0 &&", "signal"),
    "the event is not asked before a signal": (
        *(SIGNAL, "fd >= 0 && exit_has_come(fd) > 0", "0", "signal"),
    ),
    # waits
    "verified before it is registered, not after": (
        *(
            IDENTITY,
            "registered = exit_register(fd, identity->pid);\n"
            "    r = pp_process_compare(host, identity, ret_reason);",
            "r = pp_process_compare(host, identity, ret_reason);\n"
            "    registered = exit_register(fd, identity->pid);",
            "signal",
        ),
    ),
    "not verified once it is registered": (
        *(
            IDENTITY,
            "registered = exit_register(fd, identity->pid);\n"
            "    r = pp_process_compare(host, identity, ret_reason);",
            "registered = exit_register(fd, identity->pid);",
            "signal",
        ),
    ),
    "a late event is waited for": (
        *(
            IDENTITY,
            "    return pp_process_compare(host, identity, ret_reason);\n}\n\nint\n"
            "pp_process_identify",
            "    return fd >= 0 ? answer(PP_ALIVE, 0, ret_reason)\n"
            "                   : pp_process_compare(host, identity, ret_reason);\n}\n\nint\n"
            "pp_process_identify",
            "signal",
        ),
    ),
    # arguments and environment
    "all that is zero is padding": (
        *(PARSE, "left = padding(base, text); left > 0; left--", "; text < end && !*text;", "read"),
    ),
    "no padding": (PARSE, "left = padding(base, text); left", "left = 0; left", "read"),
    "kernel strings anywhere": (PARSE, "padding(base, text) != 0", "0", "read"),
    "the first that looks like them": (
        *(PARSE, "found[i] = text;", "found[i] = found[i] ? found[i] : text;", "read"),
    ),
    "what is kept back is empty": (
        *(
            PARSE,
            "    *ret_procargs = procargs;",
            "    procargs.is_environment_shown = 1;\n    *ret_procargs = procargs;",
            "read",
        ),
    ),
    "the environment is not wiped": (
        *(ARGUMENTS, "(void) memset_s(arguments->area, ARG_MAX, 0, arguments->used);", ";", "read"),
    ),
    "only the first byte is wiped": (ARGUMENTS, "0, arguments->used)", "0, 1)", "read"),
    "the tail is taken for the whole": (ARGUMENTS, "size >= ARG_MAX ? -E2BIG : ", "", "read"),
    "versions are not compared": (
        *(READ, "read_result == 0 && before.version == after.version", "read_result == 0", "read"),
    ),
    "no second look at the process": (
        *(
            READ,
            "r = facts_judge(host, identity, &after, &reason);",
            "after = before, r = PP_ALIVE;",
            "read",
        ),
    ),
    "another user's become ours in time": (READ, "after.effective_uid != geteuid()", "0", "read"),
    "a moment is for ever": (READ, "read_result != -EAGAIN && read_result != -EIO &&", "", "read"),
    # listeners
    "any socket listens": (LISTENER, "tcp->tcpsi_state != TSI_S_LISTEN", "0", "listener"),
    "the port as it lies in memory": (
        *(LISTENER, "ntohs((uint16_t) tcp->tcpsi_ini.insi_lport)", "tcp->tcpsi_ini.insi_lport"),
        "listener",
    ),
    "IPv6 alone is both": (
        LISTENER,
        "(info->insi_vflag & INI_IPV4) ? DUAL",
        "1 ? DUAL",
        "listener",
    ),
    "several sockets are one": (LISTENER, "best.inode == inode && sockets == 1", "1", "listener"),
    "any match is as close": (
        LISTENER,
        "if ((int) match > best)",
        "if (match && !best)",
        "listener",
    ),
    "shared ports are ours": (LISTENER, "r == LOOPBACK && !is_shared", "r == LOOPBACK", "listener"),
    "a cut list is whole": (LISTENER, "(size_t) size < capacity * sizeof(*open)", "1", "listener"),
}


def find(what: str) -> subprocess.CompletedProcess[str]:
    """Run the tests that are to find it."""
    name, old, new, tests = MUTANTS[what]
    text = (world.CSRC / name).read_text()
    assert text.count(old) == 1, f"{name} has changed: {old}"
    site = world.build({name: text.replace(old, new)})
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    # Left out is what takes seconds and finds nothing that the others do not.
    command += ["-k", "not any_arguments", str(HERE / f"test_{tests}.py")]
    return subprocess.run(
        command,
        env=world.environment(site),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """All of them, two at a time."""
    world.build()
    with ThreadPoolExecutor(2) as pool:
        yield {what: pool.submit(find, what) for what in MUTANTS}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", MUTANTS)
def test_it_is_caught(
    what: str, found: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    done = found[what].result()
    said = f"{done.stdout[-2000:]}{done.stderr[-1000:]}"
    assert done.returncode == 1, f"nothing failed:\n{said}"
    # Not an error around the test, nor what a loaded machine does too.
    assert "\nFAILED " in done.stdout, said
    assert "Failed: Timeout" not in done.stdout, said
