# SPDX-License-Identifier: MIT
"""Three answers to "does it still run", for unknown is not dead."""

from __future__ import annotations

from pidproof import _native


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

__all__ = ["Liveness", "liveness_of"]


class Liveness:
    """Whether a process that was identified once still runs: one of three, compared with `is`.

    Named as the members of an enum are, without the import of enum: that would be a tenth of what
    a healthy `pidproof ensure` takes, and loaded late it could fail where an answer may not.
    """

    __slots__ = ("name", "value")
    name: str
    value: str

    ALIVE: ClassVar[Liveness]
    """It is this very process, and it has not exited."""
    GONE: ClassVar[Liveness]
    """Proven: it has exited, or its pid is another's, or the machine was booted since."""
    UNKNOWN: ClassVar[Liveness]
    """Neither could be proven.  Never a licence to kill, to steal or to start another."""

    def __new__(cls, value: str) -> Liveness:
        """Return the answer of this value; ValueError if there is none."""
        for answer in _ANSWERS.values():
            if answer.value == value:
                return answer
        raise ValueError(f"{value!r} is not a Liveness")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self} cannot be changed")

    def __repr__(self) -> str:
        return f"<{self}: {self.value!r}>"

    def __str__(self) -> str:
        return f"Liveness.{self.name}"

    def __bool__(self) -> bool:
        raise TypeError(f"{self} is neither true nor false; compare it: is Liveness.ALIVE")

    def __reduce__(self) -> tuple[Callable[[str], Liveness], tuple[str]]:
        return Liveness, (self.value,)


def _answer(name: str) -> Liveness:
    answer = object.__new__(Liveness)
    object.__setattr__(answer, "name", name)
    object.__setattr__(answer, "value", name.lower())
    setattr(Liveness, name, answer)
    return answer


_ANSWERS = {
    _native.ALIVE: _answer("ALIVE"),
    _native.GONE: _answer("GONE"),
    _native.UNKNOWN: _answer("UNKNOWN"),
}


def liveness_of(answer: int) -> Liveness:
    """Return an answer of the C module as what it means."""
    return _ANSWERS[answer]
