# SPDX-License-Identifier: MIT
"""ensure, start, status, list, stop, restart."""

from __future__ import annotations

from pidproof.cli.codes import STATUS
from pidproof.cli.show import Progress, print_json, print_line, print_table, printable, words
from pidproof.cli.signals import cleaning_up, end_on_signals


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pidproof.cli.grammar import Options
    from pidproof.server.probe import Probe
    from pidproof.server.results import Running, Status
    from pidproof.server.spec import Spec


def _probe(options: Options) -> Probe | None:
    from pidproof.errors import InvalidArgument
    from pidproof.server import probes

    if options.http is not None:
        return probes.Http(
            options.http, status=options.http_status, headers=dict(options.http_header)
        )
    if options.http_status is not None or options.http_header:
        raise InvalidArgument("--http-status and --http-header go with --http")
    if options.tcp:
        return probes.Tcp()
    if options.unix is not None:
        return probes.Unix(options.unix)
    if options.exec is not None:
        import shlex

        try:
            return probes.Exec(shlex.split(options.exec))
        except ValueError as error:
            raise InvalidArgument(f"--exec {options.exec!r}: {error}") from error
    return None if options.log_line is None else probes.LogLine(options.log_line)


def _spec(options: Options) -> Spec:
    from pidproof.server.spec import make_spec

    return make_spec(
        options.key,
        options.command,
        probe=_probe(options),
        port=options.port,
        port_env=options.port_env,
        env=dict(options.env),
        cwd=options.cwd,
        version=options.server_version,
        on_mismatch=options.on_mismatch,
        on_unknown=options.on_unknown,
        timeout=options.timeout,
        startup_timeout=options.startup_timeout,
        grace=options.grace,
        probe_timeout=options.probe_timeout,
        idle_timeout=options.idle_timeout,
    )


def _print_running(running: Running, options: Options) -> int:
    if options.json:
        # The token is a secret: it is in the record and in the server's environment.
        print_json({name: value for name, value in running.as_dict().items() if name != "token"})
    else:
        print_line(running.url or running.identity)
    return 0


def ensure(options: Options) -> int:
    from pidproof.server.ensure import ensure as run

    progress = Progress(quiet=options.quiet, verbose=options.verbose)
    put_back: list[Callable[[], None]] = []
    try:
        # A healthy server is found without holding anything: then a signal may end us at once.
        running = run(
            _spec(options), progress, before_lock=lambda: put_back.append(end_on_signals())
        )
    finally:
        for each in put_back:
            each()
        progress.done()
    return _print_running(running, options)


@cleaning_up
def start(options: Options) -> int:
    from pidproof.server.manual import start_detached, start_here

    if not options.detach:
        start_here(_spec(options))
    progress = Progress(quiet=options.quiet, verbose=options.verbose)
    try:
        running = start_detached(_spec(options), progress)
    finally:
        progress.done()
    return _print_running(running, options)


@cleaning_up
def restart(options: Options) -> int:
    from pidproof.server.server import Server

    progress = Progress(quiet=options.quiet, verbose=options.verbose)
    try:
        running = Server.recorded(options.key, on_event=progress).restart()
    finally:
        progress.done()
    return _print_running(running, options)


@cleaning_up
def stop(options: Options) -> int:
    from pidproof.server.stop import stop as run

    stopped = run(options.key, grace=options.grace, timeout=options.timeout)
    if options.json:
        print_json(stopped.as_dict())
    elif stopped.action == "absent":
        words(f"{stopped.key}: not running")
    elif stopped.action == "gone":
        words(f"{stopped.key}: process {stopped.pid} was gone already")
    else:
        words(f"{stopped.key}: process {stopped.pid} {stopped.action}")
    return 0


def status(options: Options) -> int:
    from pidproof.server.status import status as run

    found = run(options.key, timeout=options.timeout)
    if options.json:
        print_json(found.as_dict())
    else:
        for name, value in _facts(found):
            print_line(f"{name + ':':<9} {printable(value)}")
    return STATUS[found.state]


def _facts(found: Status) -> list[tuple[str, str]]:
    import shlex

    facts = [("state", found.state), ("detail", found.detail)]
    if found.state in {"absent", "unknown"} and found.identity is None:
        return facts
    optional = {
        "url": found.url,
        "pid": found.pid,
        "identity": found.identity,
        "version": found.version,
        "managed": found.managed,
        "started": found.started_at,
        "command": shlex.join(found.command),
        "log": found.log,
    }
    return facts + [(name, str(value)) for name, value in optional.items() if value is not None]


def list_(options: Options) -> int:
    from pidproof.server.status import list_all

    if options.json:
        servers = [found.as_dict() for found in list_all(timeout=options.timeout)]
        print_json({"servers": servers})
        return 0
    rows = [
        (found.key, found.state, str(found.pid or "-"), found.url or "-", found.version or "-")
        for found in list_all(timeout=options.timeout)
    ]
    if not rows:
        words("no server is recorded")
    print_table(("KEY", "STATE", "PID", "URL", "VERSION"), rows)
    return 0
