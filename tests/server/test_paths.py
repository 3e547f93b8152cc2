# SPDX-License-Identifier: MIT
"""The state directory: whose it is, how keys become names, and what is not followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import NEEDS_NAMESPACES, NEEDS_ROOT, NOBODY, needs_linux, python, run
from pidproof import InvalidArgument, Server, StateError, UnsafePath, _native, sweep
from pidproof.server import paths
from pidproof.server.directory import KeyDirectory
from pidproof.server.paths import check_key, host_directory, state_root
from pidproof.server.status import list_all, status
from servers import SLEEPER, sleeper


if TYPE_CHECKING:
    from servers import State


# ------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "key", ["a", "web", "tsc:/src/app@1.2+x=y", "-a"[1:], "x" * 128, "..", "/"]
)
def test_a_key_is_letters_digits_and_some_signs(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "-a", "a b", "a\n", "a\0b", "x" * 129, "ä", "a;b", "a*", "~", None, b"web", 7]
)
def test_anything_else_is_no_key(key: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a key") as caught:
        Server(key, SLEEPER)
    assert "letters, digits" in str(caught.value.remedy)


@given(st.text(max_size=130))
def test_any_key_is_refused_or_names_one_directory_below_the_host(key: str) -> None:
    try:
        check_key(key)
    except InvalidArgument:
        return
    with KeyDirectory.open(key, create=True) or pytest.fail("none") as directory:
        parent, _, name = directory.path.rpartition("/")
        assert parent == host_directory()
        assert name not in {".", ".."}
        assert not name.startswith((".", "-"))


@pytest.mark.parametrize(("one", "two"), [("a/b", "a:b"), ("x" * 60, "x" * 61), ("...", "-."[1:])])
def test_two_keys_with_the_same_slug_do_not_meet(state: State, one: str, two: str) -> None:
    first, second = sleeper(one).ensure(), sleeper(two).ensure()
    assert first.pid != second.pid
    assert state.directory(one) != state.directory(two)
    slugs = {state.directory(key).name.rpartition("-")[0] for key in (one, two)}
    assert len(slugs) == 1


# ---------------------------------------------------------------------------------- where it lives


def test_the_state_directory_is_the_one_chosen_else_below_xdg_else_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIDPROOF_STATE_DIR", "/chosen/")
    assert state_root() == "/chosen"
    monkeypatch.delenv("PIDPROOF_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert state_root() == "/xdg/pidproof"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert state_root() == "/home/me/.local/state/pidproof"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PIDPROOF_STATE_DIR", "state"), ("PIDPROOF_STATE_DIR", "./s"), ("XDG_STATE_HOME", "x")],
)
def test_a_relative_state_directory_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.delenv("PIDPROOF_STATE_DIR")
    monkeypatch.setenv(variable, value)
    with pytest.raises(StateError, match="is not an absolute path"):
        sleeper().ensure()


def test_directories_and_files_are_for_their_owner_alone(state: State) -> None:
    before = os.umask(0)
    try:
        sleeper().ensure()
    finally:
        os.umask(before)
    directory = state.directory("sleeper")
    for path in (state.root, directory.parent, directory):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for file in directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_looking_creates_nothing(state: State) -> None:
    assert status("sleeper").state == "absent"
    assert not list(list_all())
    assert not sweep()
    assert sleeper().stop().action == "absent"
    assert sleeper().logs() == []
    assert not state.root.exists()


def test_the_machine_has_its_own_part_of_the_state(state: State) -> None:
    sleeper().ensure()
    (part,) = state.root.iterdir()
    file = Path("/etc/machine-id")
    machine = file.read_text().strip() if file.exists() else _native.machine_id()
    assert str(part) == host_directory()
    assert part.name != machine


@NEEDS_NAMESPACES
def test_a_machine_without_an_id_is_told_by_its_name() -> None:
    code = "from pidproof.server.paths import host_directory; print(host_directory())"
    hide = (
        "for f in /etc/machine-id /var/lib/dbus/machine-id; do "
        "[ ! -e $f ] || mount --bind /dev/null $f; done; "
        'hostname $1; shift; exec "$@"'
    )
    command = ["unshare", "-m", "-u", "sh", "-c", hide, "sh"]
    names = [run([*command, name, *python(code)]) for name in ("one", "one", "two")]
    assert names[0] == names[1] != names[2]
    assert names[0].strip() != host_directory()


def test_out_of_descriptors_the_machine_has_no_other_name() -> None:
    """By another name it would have another state, and so a second server."""
    code = """
        import os, resource
        from pidproof import StateError
        from pidproof.server.paths import host_directory
        before = host_directory()
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        try:
            print(host_directory())
        except StateError as error:
            print(error.errno, error)
        os.close(held.pop())
        print(host_directory() == before)
    """
    said = run(python(code)).splitlines()
    assert said[0].startswith(f"{errno.EMFILE} the id of this machine cannot be read just now")
    assert said[1] == "True"


# ---------------------------------------------------------------------------- hostile surroundings


def refused(match: str, kind: type[Exception] = UnsafePath) -> None:
    """Check that every operation refuses, and that nothing was started."""
    for act in (sleeper().ensure, sleeper().start, sleeper().status, sleeper().stop):
        with pytest.raises(kind, match=match):
            act()


def test_a_symbolic_link_as_the_state_directory_is_not_followed(
    state: State, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    state.root.symlink_to(tmp_path / "elsewhere")
    refused("symbolic link")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_not_even_with_a_slash_at_its_end(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    state.root.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("PIDPROOF_STATE_DIR", f"{state.root}//")
    refused("symbolic link")


@pytest.mark.parametrize("place", ["host", "key"])
def test_a_symbolic_link_further_down_is_not_followed_either(
    state: State, tmp_path: Path, place: str
) -> None:
    sleeper().ensure()
    sleeper().stop()
    directory = state.directory("sleeper")
    victim = directory if place == "key" else directory.parent
    victim.rename(tmp_path / "moved")
    victim.symlink_to(tmp_path / "moved")
    refused("symbolic link")
    victim.unlink()


@NEEDS_ROOT
def test_a_state_directory_of_another_user_is_refused(state: State) -> None:
    state.root.mkdir(mode=0o700)
    os.chown(state.root, NOBODY, NOBODY)
    refused(f"belongs to uid {NOBODY}, not to uid 0")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777 | stat.S_ISVTX])
def test_a_state_directory_that_others_can_write_is_refused(state: State, mode: int) -> None:
    state.root.mkdir()
    state.root.chmod(mode)
    refused("can be written by others")


@pytest.mark.parametrize("kind", ["fifo", "file"])
def test_a_state_directory_that_is_none_is_refused(state: State, kind: str) -> None:
    os.mkfifo(state.root) if kind == "fifo" else state.root.touch()
    refused("is not what belongs there")
    state.root.unlink()


def spoil(path: Path, kind: str, tmp_path: Path) -> None:
    """Put something hostile in the place of a file."""
    path.unlink(missing_ok=True)
    target = tmp_path / "target"
    target.write_text("{}")
    match kind:
        case "link":
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        case "hard link":
            path.hardlink_to(target)
        case "FIFO":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "writable":
            path.touch()
            path.chmod(0o666)


HOSTILE = ["link", "dangling link", "hard link", "FIFO", "directory", "writable"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_record_that_is_not_a_file_of_ours_is_refused(
    state: State, tmp_path: Path, kind: str
) -> None:
    sleeper().ensure()
    sleeper().stop()
    path = state.directory("sleeper") / "record.json"
    spoil(path, kind, tmp_path)
    refused("record.json")
    assert not state.running()
    assert (tmp_path / "target").read_text() == "{}"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_log_that_is_not_a_file_of_ours_is_refused(
    state: State, tmp_path: Path, kind: str
) -> None:
    sleeper().ensure()
    sleeper().stop()
    spoil(state.directory("sleeper") / "server.log", kind, tmp_path)
    with pytest.raises(StateError, match=r"server\.log"):
        sleeper().ensure()
    assert not state.running()
    assert (tmp_path / "target").read_text() == "{}"
    assert not (tmp_path / "nowhere").exists()


@needs_linux("/proc/1, where nobody can make a directory")
def test_a_directory_that_may_not_be_entered_is_named(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIDPROOF_STATE_DIR", "/proc/1/pidproof")
    with pytest.raises(StateError, match="/proc/1"):
        sleeper().ensure()


def test_one_bad_directory_does_not_hide_the_others(state: State, tmp_path: Path) -> None:
    running = sleeper("good").ensure()
    bad = state.directory("good").parent
    (bad / "a-file").touch()
    (bad / "b-link").symlink_to(tmp_path)
    (bad / "c-open").mkdir()
    (bad / "c-open").chmod(0o777)
    found = {one.key: one for one in list_all()}
    assert found["good"].pid == running.pid
    assert {key: one.state for key, one in found.items()} == {
        "good": "healthy",
        "a-file": "unknown",
        "b-link": "unknown",
        "c-open": "unknown",
    }
    assert sorted(one.action for one in sweep()) == ["left", "left", "left"]


def test_the_digest_that_names_the_directories_stays_as_it_is() -> None:
    """It is on the disks of users: FNV-1a, 64 bits, its published test vectors."""
    assert paths.digest("") == "cbf29ce484222325"
    assert paths.digest("a") == "af63dc4c8601ec8c"
    assert paths.digest("foobar") == "85944171f73967e8"
