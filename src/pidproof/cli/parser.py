# SPDX-License-Identifier: MIT
"""Parse the plain form of a command line; leave every other to argparse.

argparse costs more than all that a healthy `ensure` does.  What is read here means the same there,
for both read one grammar; abbreviations, `--name=value`, help and mistakes are argparse's.
"""

from __future__ import annotations

from pidproof.cli.grammar import COMMANDS, Options


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pidproof.cli.grammar import Command, Option

__all__ = ["parse", "parse_plain"]


def parse(argv: list[str]) -> Options:
    """Return the options; `run` is the function to call with them.  Exits with 2 on wrong usage."""
    # Split here, so that nothing behind the first -- is ever taken for an option of ours.
    mark = argv.index("--") if "--" in argv else len(argv)
    ours, command = argv[:mark], argv[mark + 1 :]
    options = parse_plain(ours) if bool(command) == _takes_command(ours) else None
    if options is None:
        from pidproof.cli.explain import parse_any

        options = parse_any(ours, command)
    options.command = command
    return options


def _takes_command(ours: list[str]) -> bool:
    command = COMMANDS.get(ours[0]) if ours else None
    return command is not None and command.takes_command


def parse_plain(ours: list[str]) -> Options | None:
    """Read COMMAND and its options, each as a whole word with its value as the next word.

    None: it is something else, which is not to say that it is wrong.
    """
    command = COMMANDS.get(ours[0]) if ours else None
    if command is None:
        return None
    values = _read(command, ours[1:])
    return None if values is None else Options(name=ours[0], run=command.run, **values)


def _read(command: Command, words: list[str]) -> dict[str, Any] | None:
    by_flag = {flag: option for option in command.options for flag in option.flags}
    positionals = [option for option in command.options if not option.flags[0].startswith("-")]
    values = {option.dest: option.default for option in command.options}
    exclusive: set[str] = set()
    rest = iter(words)
    for word in rest:
        option: Option | None
        if not word.startswith("-"):
            if not positionals:
                return None
            option, text = positionals.pop(0), word
        else:
            option = by_flag.get(word)
            if option is None:
                return None
            if option.exclusive:
                exclusive.add(option.dest)
            if option.keywords.get("action") == "store_true":
                values[option.dest] = True
                continue
            text = next(rest, "-")
            if text.startswith("-"):
                return None
        try:
            value = option.keywords.get("type", str)(text)
        except ValueError:
            return None
        if value not in option.keywords.get("choices", (value,)):
            return None
        if option.keywords.get("action") == "append":
            value = [*values[option.dest], value]
        values[option.dest] = value
    return None if positionals or len(exclusive) > 1 else values
