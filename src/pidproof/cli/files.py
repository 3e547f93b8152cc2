# SPDX-License-Identifier: MIT
"""logs, history, sweep."""

from __future__ import annotations

import os

from pidproof.cli.show import print_json, print_line, print_table, words
from pidproof.cli.signals import cleaning_up
from pidproof.errors import CommandNotFound, InvalidArgument


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pidproof.cli.grammar import Options
    from pidproof.server.directory import KeyDirectory


def _directory(key: str) -> KeyDirectory:
    from pidproof.errors import KeyNotFound
    from pidproof.server.directory import KeyDirectory

    directory = KeyDirectory.open(key)
    if directory is None:
        raise KeyNotFound(
            f"nothing was ever recorded under {key!r}", remedy="pidproof list", key=key
        )
    return directory


def logs(options: Options) -> int:
    from pidproof.server.log import LOG, tail

    if options.follow and options.json:
        raise InvalidArgument("--json goes with the lines there are, not with --follow")
    with _directory(options.key) as directory:
        # Before anyone follows it too: this refuses a log that is not a file of ours.
        lines = tail(directory, options.lines)
        if options.follow:
            _follow(f"{directory.path}/{LOG}", options.lines)
    if options.json:
        print_json({"key": options.key, "lines": lines})
    else:
        for line in lines:
            print_line(line)
    return 0


def _follow(path: str, lines: int) -> NoReturn:
    from pidproof.interrupts import unignore

    unignore()
    try:
        # It waits for events, and follows the log through its rotation.
        os.execvp("tail", ["tail", "-n", str(lines), "-F", path])
    except FileNotFoundError as error:
        raise CommandNotFound(
            "tail, which follows the log, is not found on PATH", remedy=f"read {path}"
        ) from error


def history(options: Options) -> int:
    from pidproof.server.log import read_history

    with _directory(options.key) as directory:
        entries = read_history(directory)
    if options.json:
        print_json({"key": options.key, "entries": entries})
        return 0
    rows = [
        (
            str(entry.get("at")),
            str(entry.get("event")),
            str(entry.get("pid", "-")),
            str(entry.get("by")),
            str(entry.get("evidence", "")),
        )
        for entry in entries
    ]
    print_table(("AT", "EVENT", "PID", "BY", "EVIDENCE"), rows)
    return 0


@cleaning_up
def sweep(options: Options) -> int:
    from pidproof.server.sweep import sweep as run

    done = run(dry_run=options.dry_run)
    if options.json:
        entries = [entry.as_dict() for entry in done]
        print_json({"dry_run": options.dry_run, "swept": entries})
        return 0
    if not done:
        words("nothing to sweep")
    action = {"dropped": "would drop", "ended": "would end"} if options.dry_run else {}
    rows = [
        (action.get(entry.action, entry.action), entry.key or "-", str(entry.pid or "-"),
         entry.reason)
        for entry in done
    ]  # fmt: skip
    print_table(("ACTION", "KEY", "PID", "REASON"), rows)
    return 0
