# SPDX-License-Identifier: MIT
"""The grammar of the command line."""

from __future__ import annotations

import argparse


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[[argparse.Namespace], int]

__all__ = ["parse"]

_DESCRIPTION = "Exactly one healthy background server per key, and proof of which process that is."
_EXAMPLE = """\
example:
  pidproof ensure web --http / -- python3 -m http.server {port}
  pidproof status web; pidproof logs web; pidproof stop web

exit status: 0 done; 2 usage; 69 the server never became healthy; 74 state not usable;
75 lock timeout, try again; 77 refused, its identity is not proven; 78 version or record mismatch;
126, 127 command not executable, not found.
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options; `run` is the function to call with them.  Exits with 2 on wrong usage."""
    # Split here, so that nothing behind the first -- is ever taken for an option of ours.
    mark = argv.index("--") if "--" in argv else len(argv)
    ours, command = argv[:mark], argv[mark + 1 :]
    options = _parser(ours).parse_args(ours)
    takes_command = getattr(options, "takes_command", False)
    if command and not takes_command:
        _parser(ours).error(f"{options.name} takes no command behind --")
    if takes_command and not command:
        # argparse.error would print the whole usage; what is missing is one thing.
        _parser(ours).error(
            f"the command is missing; put it behind --, as in: "
            f"pidproof {options.name} {options.key} -- COMMAND [ARGUMENT ...]"
        )
    options.command = command
    return options


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    from pidproof import __version__

    parser = argparse.ArgumentParser(
        prog="pidproof",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pidproof {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)
    # Only the grammar of the command that is used is built; of all, to show or to complain.
    wanted = next((word for word in argv if not word.startswith("-")), None)
    names = [wanted] if wanted in _COMMANDS else list(_COMMANDS)
    for name in names:
        text, add, run = _COMMANDS[name]
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        add(command)
        command.set_defaults(run=_loader(run))
    return parser


def _loader(name: str) -> Command:
    def run(options: argparse.Namespace) -> int:
        from importlib import import_module

        module, _, function = name.partition(":")
        command: Command = getattr(import_module(f"pidproof.cli.{module}"), function)
        return command(options)

    return run


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 86400 seconds")
    return value


def _port(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number from 1 to 65535")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'Name: value'")
    return name.strip(), value.strip()


def _server(parser: argparse.ArgumentParser) -> None:
    """The options that describe a server."""
    _key(parser)
    parser.set_defaults(takes_command=True)
    parser.usage = f"{parser.prog} KEY [option ...] -- COMMAND [ARGUMENT ...]"
    probes = parser.add_argument_group("ready when (none: once the command runs)")
    probe = probes.add_mutually_exclusive_group()
    probe.add_argument("--http", metavar="PATH", help="GET of this path answers 200 to 399")
    probe.add_argument("--tcp", action="store_true", help="the port accepts connections")
    probe.add_argument("--unix", metavar="PATH", help="this Unix socket accepts connections")
    probe.add_argument("--exec", metavar="CMD", help="this command exits with 0")
    probe.add_argument("--log-line", metavar="REGEX", help="a line of its log matches")
    probes.add_argument("--http-status", metavar="N", type=int, help="the one status that counts")
    probes.add_argument(
        "--http-header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="sent along; {token} is replaced",
    )
    parser.add_argument("--port", metavar="auto|N", type=_port, help="{port} implies auto")
    parser.add_argument("--port-env", metavar="NAME", default="PORT", help="default: PORT")
    parser.add_argument(
        "--env",
        metavar="K=V",
        type=_pair,
        action="append",
        default=[],
        help="added to the environment; {port}, {fd} and {token} are replaced",
    )
    parser.add_argument("--cwd", metavar="DIR", help="default: where you are")
    parser.add_argument("--version", metavar="V", dest="server_version", help="recorded, compared")
    parser.add_argument(
        "--on-mismatch",
        choices=["upgrade", "replace", "reuse", "error"],
        default="upgrade",
        help="when another version runs: replace an older one (upgrade, the default), any "
        "other (replace), none (reuse), or fail (error)",
    )
    parser.add_argument(
        "--on-unknown",
        choices=["error", "beside"],
        default="error",
        help="when the recorded server can be neither proven nor ended",
    )
    for name, default, text in (
        ("--timeout", None, "for everything together"),
        ("--startup-timeout", 60.0, "for a start to be ready"),
        ("--grace", 6.0, "between SIGTERM and SIGKILL"),
        ("--probe-timeout", 1.0, "for the first probe of a running server"),
        ("--idle-timeout", None, "told to the server as PIDPROOF_IDLE_TIMEOUT"),
    ):
        said = text if default is None else f"{text}; default: {default:g}"
        parser.add_argument(name, metavar="S", type=_seconds, default=default, help=said)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress line")
    parser.add_argument("-v", "--verbose", action="store_true", help="say each step")


def _start(parser: argparse.ArgumentParser) -> None:
    _server(parser)
    parser.add_argument("--detach", action="store_true", help="in the background")


def _stop(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("--grace", metavar="S", type=_seconds, default=6.0)
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=60.0)


def _restart(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")


def _status(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=2.0)


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=2.0, help="for a probe")


def _logs(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    parser.add_argument("-n", "--lines", metavar="N", type=int, default=100)


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what it would do, and why")


def _id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", metavar="PID", type=int)


def _token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("token", metavar="TOKEN")


def _kill(parser: argparse.ArgumentParser) -> None:
    _token(parser)
    parser.add_argument("-s", "--signal", metavar="SIG", default="TERM", help="default: TERM")
    parser.add_argument("--group", action="store_true", help="the process group it leads")


def _wait(parser: argparse.ArgumentParser) -> None:
    _token(parser)
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=86400.0, help="default: a day"
    )


_COMMANDS = {
    "ensure": ("return the one healthy server of a key, started if need be", _server,
               "servers:ensure"),
    "start": ("start a server by hand, here or in the background", _start, "servers:start"),
    "status": ("say how the server of a key is", _status, "servers:status"),
    "list": ("say how every server is", _list, "servers:list_"),
    "stop": ("end the server of a key", _stop, "servers:stop"),
    "restart": ("end the server of a key and start it as it was", _restart, "servers:restart"),
    "logs": ("show the log of a server", _logs, "files:logs"),
    "history": ("say what was done to a key, by whom, on what evidence", _key, "files:history"),
    "sweep": ("drop dead records, end servers without program or record", _sweep,
              "files:sweep"),
    "id": ("print the token of a process", _id, "processes:id_"),
    "check": ("say whether the process of a token runs", _token, "processes:check"),
    "kill": ("signal the process of a token, and no other", _kill, "processes:kill"),
    "wait": ("wait for the process of a token to exit", _wait, "processes:wait"),
}  # fmt: skip
