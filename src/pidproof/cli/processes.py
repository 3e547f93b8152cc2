# SPDX-License-Identifier: MIT
"""id, check, kill, wait: process identities for shell scripts and pid files."""

from __future__ import annotations

from pidproof.cli.codes import CHECK
from pidproof.cli.show import print_json, print_line
from pidproof.cli.signals import cleaning_up


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.cli.grammar import Options
    from pidproof.process.identity import ProcessIdentity


def _parse(token: str) -> ProcessIdentity:
    from pidproof.process.identity import ProcessIdentity

    return ProcessIdentity.parse(token)


def id_(options: Options) -> int:
    from pidproof.process.identity import identify

    identity = identify(options.pid)
    if not options.json:
        print_line(identity)
        return 0
    print_json(
        {
            "identity": str(identity),
            "pid": identity.pid,
            "start_time": identity.start_time,
            "boot_id": identity.boot_id,
            "pid_namespace": identity.pid_namespace,
            "unique_id": identity.unique_id,
            "uid": identity.uid,
        }
    )
    return 0


def check(options: Options) -> int:
    liveness, evidence = _parse(options.token).explain()
    if options.json:
        print_json({"identity": options.token, "liveness": liveness.value, "evidence": evidence})
    else:
        print_line(liveness.value)
    return CHECK[liveness.value]


def _signal_number(name: str) -> int:
    import signal

    from pidproof.errors import InvalidArgument

    last = max(signal.valid_signals())
    if name.isascii() and name.isdigit() and len(name) < 4 and int(name) <= last:
        return int(name)
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise InvalidArgument(f"{name!r} is not a signal", remedy="see kill -l") from None


def kill(options: Options) -> int:
    identity = _parse(options.token)
    number = _signal_number(options.signal)
    with identity.open() as handle:
        handle.signal(number, group=options.group)
    if options.json:
        print_json({"identity": options.token, "signal": int(number)})
    return 0


@cleaning_up
def wait(options: Options) -> int:
    from pidproof.errors import ProcessGone, WaitTimeout

    identity = _parse(options.token)
    try:
        with identity.open() as handle:
            over = handle.wait(options.timeout)
    except ProcessGone:
        over = True
    if not over:
        raise WaitTimeout(
            f"process {identity.pid} still runs after {options.timeout:g} s",
            remedy="wait longer (--timeout)",
            pid=identity.pid,
        )
    if options.json:
        print_json({"identity": options.token, "liveness": "gone"})
    return 0
