# SPDX-License-Identifier: MIT
"""Structural match of a command line: on whole arguments, never on a joined string."""

from __future__ import annotations

import os

from pidproof.errors import InvalidArgument


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import EllipsisType

__all__ = ["ArgvPattern"]


class _Any:
    """Matches one argument, whatever it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ArgvPattern.ANY"


class _Named:
    """Matches an argument by the last component of its path."""

    __slots__ = ("name",)

    def __init__(self, name: bytes) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"ArgvPattern.named({os.fsdecode(self.name)!r})"


class ArgvPattern:
    """A pattern of whole arguments, such as `node <bundle> start`, whatever node.

        ArgvPattern(ArgvPattern.named("node"), "/opt/app/bundle.js", "start", ...)

    Each element matches one argument: text, bytes or a path exactly; `ArgvPattern.ANY` any;
    `ArgvPattern.named("node")` by the last component of its path.  `...` matches any number of
    arguments, none included.  The pattern must cover the whole argv.
    """

    ANY = _Any()
    __slots__ = ("_elements",)

    def __init__(
        self, *elements: str | bytes | os.PathLike[str] | _Any | _Named | EllipsisType
    ) -> None:
        if not elements:
            raise InvalidArgument("an argv pattern needs at least one element")
        self._elements: tuple[bytes | _Any | _Named | EllipsisType, ...] = tuple(
            element
            if isinstance(element, (_Any, _Named)) or element is ...
            else os.fsencode(element)
            for element in elements
        )

    @staticmethod
    def named(name: str | bytes) -> _Named:
        """Match an argument whose last path component is `name`."""
        raw = os.fsencode(name)
        if not raw or b"/" in raw:
            raise InvalidArgument(f"{name!r} is not the last component of a path")
        return _Named(raw)

    def matches(self, argv: Sequence[bytes]) -> bool:
        """Say whether the pattern covers all of argv."""
        # The set of positions in argv that the elements so far can end at.
        reached = {0}
        for element in self._elements:
            if element is ...:
                reached = set(range(min(reached), len(argv) + 1))
            else:
                reached = {
                    at + 1 for at in reached if at < len(argv) and _matches_one(element, argv[at])
                }
            if not reached:
                return False
        return len(argv) in reached

    def exact_arguments(self) -> list[bytes]:
        """Return the arguments that every match holds literally: a filter for a scan."""
        return [element for element in self._elements if isinstance(element, bytes)]

    def to_json(self) -> list[list[str]]:
        """Return the pattern as plain data."""
        return [_element_to_json(element) for element in self._elements]

    @classmethod
    def from_json(cls, data: object) -> ArgvPattern:
        """Read what `to_json` gave.

        Raises:
            InvalidArgument: it is something else.
        """
        if not isinstance(data, list):
            raise InvalidArgument(f"{data!r} is not an argv pattern")
        try:
            return cls(*(_element_from_json(item) for item in data))
        except UnicodeError as error:
            raise InvalidArgument(f"{data!r} is not an argv pattern: {error}") from error

    def __repr__(self) -> str:
        parts = (
            repr(os.fsdecode(element))
            if isinstance(element, bytes)
            else "..."
            if element is ...
            else repr(element)
            for element in self._elements
        )
        return f"ArgvPattern({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArgvPattern):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(repr(self))


def _matches_one(element: object, argument: bytes) -> bool:
    if isinstance(element, _Named):
        return argument.rpartition(b"/")[2] == element.name
    return isinstance(element, _Any) or element == argument


def _element_to_json(element: bytes | _Any | _Named | EllipsisType) -> list[str]:
    if isinstance(element, bytes):
        return ["is", os.fsdecode(element)]
    if isinstance(element, _Named):
        return ["named", os.fsdecode(element.name)]
    return ["any"] if isinstance(element, _Any) else ["rest"]


def _element_from_json(item: object) -> bytes | _Any | _Named | EllipsisType:
    match item:
        case ["is", str(text)]:
            return os.fsencode(text)
        case ["named", str(name)]:
            return ArgvPattern.named(name)
        case ["any"]:
            return ArgvPattern.ANY
        case ["rest"]:
            return ...
        case _:
            raise InvalidArgument(f"{item!r} is not an element of an argv pattern")
