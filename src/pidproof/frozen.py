# SPDX-License-Identifier: MIT
"""Frozen results with named fields, without the import cost of dataclasses."""

from __future__ import annotations


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Frozen"]

_set = object.__setattr__


class Frozen:
    """Base of the result types: `__slots__` are the fields, all given by keyword, never changed."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, **fields: object) -> None:
        for name in self.__slots__:
            if name not in fields:
                raise TypeError(f"{type(self).__name__} needs the field {name!r}")
        if len(fields) != len(self.__slots__):
            (more, *_) = fields.keys() - set(self.__slots__)
            raise TypeError(f"{type(self).__name__} has no field {more!r}")
        for name, value in fields.items():
            _set(self, name, value)

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(tuple(map(str, self.as_dict().values())))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Callable[..., Frozen], tuple[object, ...]]:
        return _rebuild, (type(self), self.as_dict())


def _rebuild(kind: type[Frozen], fields: dict[str, object]) -> Frozen:
    return kind(**fields)
