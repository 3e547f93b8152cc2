# SPDX-License-Identifier: MIT
"""The whole command line by argparse: help, abbreviations, and what is wrong in words."""

from __future__ import annotations

import argparse

from pidproof.cli.grammar import COMMANDS, BadValue, Options


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pidproof.cli.grammar import Command

__all__ = ["parse_any"]

_DESCRIPTION = "Exactly one healthy background server per key, and proof of which process that is."
_EXAMPLE = """\
example:
  pidproof ensure web --http / -- python3 -m http.server {port}
  pidproof status web; pidproof logs web; pidproof stop web

exit status: 0 done; 2 usage; 69 the server never became healthy; 74 state not usable;
75 lock timeout, try again; 77 refused, its identity is not proven; 78 version or record mismatch;
126, 127 command not executable, not found.
"""


def parse_any(ours: list[str], command: list[str]) -> Options:
    """Return the options in front of --; exits with 2 on wrong usage, and with 0 after help.

    command: what stands behind it, of which only the presence counts here.
    """
    parser = _parser(ours)
    options = Options()
    parser.parse_args(ours, namespace=options)
    takes_command = COMMANDS[options.name].takes_command
    if command and not takes_command:
        parser.error(f"{options.name} takes no command behind --")
    if takes_command and not command:
        # argparse.error would print the whole usage; what is missing is one thing.
        parser.error(
            f"the command is missing; put it behind --, as in: "
            f"pidproof {options.name} {options.key} -- COMMAND [ARGUMENT ...]"
        )
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
    names = [wanted] if wanted in COMMANDS else list(COMMANDS)
    for name in names:
        text = COMMANDS[name].help
        _add_options(commands.add_parser(name, help=text, description=text), COMMANDS[name])
    return parser


def _add_options(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.set_defaults(run=command.run)
    if command.takes_command:
        parser.usage = f"{parser.prog} KEY [option ...] -- COMMAND [ARGUMENT ...]"
    groups: dict[str, argparse._ArgumentGroup] = {}
    exclusive: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for option in command.options:
        target: argparse._ActionsContainer = parser
        if option.group is not None:
            target = groups.setdefault(option.group, parser.add_argument_group(option.group))
            if option.exclusive:
                if option.group not in exclusive:
                    exclusive[option.group] = target.add_mutually_exclusive_group()
                target = exclusive[option.group]
        keywords = dict(option.keywords)
        if "type" in keywords:
            keywords["type"] = _explained(keywords["type"])
        target.add_argument(*option.flags, **keywords)


def _explained(convert: Callable[[str], object]) -> Callable[[str], object]:
    def call(text: str) -> object:
        try:
            return convert(text)
        except BadValue as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return call
