# SPDX-License-Identifier: MIT
"""The grammar of the command line as data: two parsers read it, one quick and one that explains."""

from __future__ import annotations


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["COMMANDS", "BadValue", "Command", "Option", "Options"]


class Options:
    """What was asked for: an attribute for each option, and `run`, the function to call."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: object) -> None: ...


class BadValue(ValueError):
    """A value that an option cannot have, with the reason in words."""


class Option:
    """One option or positional.  `keywords` are those of argparse's add_argument.

    group: a heading of the help.  exclusive: only one of those that have it may be given.
    """

    __slots__ = ("dest", "exclusive", "flags", "group", "keywords")

    def __init__(
        self, *flags: str, group: str | None = None, exclusive: bool = False, **keywords: Any
    ) -> None:
        self.flags = flags
        self.group = group
        self.exclusive = exclusive
        self.keywords = keywords
        long = next((flag for flag in flags if flag.startswith("--")), flags[0])
        self.dest: str = keywords.get("dest") or long.lstrip("-").replace("-", "_")

    @property
    def default(self) -> Any:
        """What it is if it is not given."""
        if self.keywords.get("action") == "store_true":
            return False
        return self.keywords.get("default")


class Command:
    """A command: what it does in words, its options, where its function is (module:function)."""

    __slots__ = ("help", "options", "run", "takes_command")

    def __init__(self, text: str, run: str, *options: Option, takes_command: bool = False) -> None:
        self.help = text
        self.run = run
        self.options = (JSON, *options)
        self.takes_command = takes_command


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadValue(f"{text!r} is not a number of seconds") from None
    if not 0 <= value <= 86400:
        raise BadValue(f"{text} is not from 0 to 86400 seconds")
    return value


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadValue(f"{text!r} is not a whole number") from None


def _port(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise BadValue(f"{text!r} is neither auto nor a number from 1 to 65535")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadValue(f"{text!r} is not NAME=VALUE")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise BadValue(f"{text!r} is not 'Name: value'")
    return name.strip(), value.strip()


JSON = Option("--json", action="store_true", help="print one JSON object")
_KEY = Option("key", metavar="KEY")
_TOKEN = Option("token", metavar="TOKEN")
_QUIET = Option("-q", "--quiet", action="store_true", help="no progress line")
_VERBOSE = Option("-v", "--verbose", action="store_true", help="say each step")


def _time(flag: str, default: float | None, text: str | None = None) -> Option:
    said = text if default is None or text is None else f"{text}; default: {default:g}"
    return Option(flag, metavar="S", type=_seconds, default=default, help=said)


_READY = "ready when (none: once the command runs)"
_SERVER = (
    _KEY,
    Option("--http", metavar="PATH", group=_READY, exclusive=True,
           help="GET of this path answers 200 to 399"),
    Option("--tcp", action="store_true", group=_READY, exclusive=True,
           help="the port accepts connections"),
    Option("--unix", metavar="PATH", group=_READY, exclusive=True,
           help="this Unix socket accepts connections"),
    Option("--exec", metavar="CMD", group=_READY, exclusive=True, help="this command exits with 0"),
    Option("--log-line", metavar="REGEX", group=_READY, exclusive=True,
           help="a line of its log matches"),
    Option("--http-status", metavar="N", type=_number, group=_READY,
           help="the one status that counts"),
    Option("--http-header", metavar="'NAME: VALUE'", type=_header, action="append", default=[],
           group=_READY, help="sent along; {token} is replaced"),
    Option("--port", metavar="auto|N", type=_port, help="{port} implies auto"),
    Option("--port-env", metavar="NAME", default="PORT", help="default: PORT"),
    Option("--env", metavar="K=V", type=_pair, action="append", default=[],
           help="added to the environment; {port}, {fd} and {token} are replaced"),
    Option("--cwd", metavar="DIR", help="default: where you are"),
    Option("--version", metavar="V", dest="server_version", help="recorded, compared"),
    Option("--on-mismatch", choices=["upgrade", "replace", "reuse", "error"], default="upgrade",
           help="when another version runs: replace an older one (upgrade, the default), any "
           "other (replace), none (reuse), or fail (error)"),
    Option("--on-unknown", choices=["error", "beside"], default="error",
           help="when the recorded server can be neither proven nor ended"),
    _time("--timeout", None, "for everything together"),
    _time("--startup-timeout", 60.0, "for a start to be ready"),
    _time("--grace", 6.0, "between SIGTERM and SIGKILL"),
    _time("--probe-timeout", 1.0, "for the first probe of a running server"),
    _time("--idle-timeout", None, "told to the server as PIDPROOF_IDLE_TIMEOUT"),
    _QUIET,
    _VERBOSE,
)  # fmt: skip

COMMANDS = {
    "ensure": Command("return the one healthy server of a key, started if need be",
                      "servers:ensure", *_SERVER, takes_command=True),
    "start": Command("start a server by hand, here or in the background", "servers:start",
                     *_SERVER, Option("--detach", action="store_true", help="in the background"),
                     takes_command=True),
    "status": Command("say how the server of a key is", "servers:status",
                      _KEY, _time("--timeout", 2.0)),
    "list": Command("say how every server is", "servers:list_",
                    _time("--timeout", 2.0, "for a probe")),
    "stop": Command("end the server of a key", "servers:stop",
                    _KEY, _time("--grace", 6.0), _time("--timeout", 60.0)),
    "restart": Command("end the server of a key and start it as it was", "servers:restart",
                       _KEY, _QUIET, _VERBOSE),
    "logs": Command("show the log of a server", "files:logs", _KEY,
                    Option("-f", "--follow", action="store_true", help="go on as it grows"),
                    Option("-n", "--lines", metavar="N", type=_number, default=100)),
    "history": Command("say what was done to a key, by whom, on what evidence", "files:history",
                       _KEY),
    "sweep": Command("drop dead records, end servers without program or record", "files:sweep",
                     Option("--dry-run", action="store_true",
                            help="say what it would do, and why")),
    "id": Command("print the token of a process", "processes:id_",
                  Option("pid", metavar="PID", type=_number)),
    "check": Command("say whether the process of a token runs", "processes:check", _TOKEN),
    "kill": Command("signal the process of a token, and no other", "processes:kill", _TOKEN,
                    Option("-s", "--signal", metavar="SIG", default="TERM", help="default: TERM"),
                    Option("--group", action="store_true", help="the process group it leads")),
    "wait": Command("wait for the process of a token to exit", "processes:wait", _TOKEN,
                    _time("--timeout", 86400.0, "a day at most")),
}  # fmt: skip
