# SPDX-License-Identifier: MIT
"""The JSON reader of the fast path against the json module, which is what it stands for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import python, run
from pidproof.server.decode import decode


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 1]))
def test_what_json_writes_is_read_back(value: Any, indent: int | None) -> None:
    assert decode(json.dumps(value, indent=indent).encode() + b"\n") == value


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[1,]", b"{} {}", b'{"a": 1} x', b"\xff", b'"\\ud800', b"nul", b"'a'", b'"\n"'],
)
def test_what_json_refuses_is_a_value_error_whether_or_not_json_is_loaded(raw: bytes) -> None:
    for read in (json.loads, decode):
        with pytest.raises(ValueError, match=r"."):
            read(raw)
    code = (
        "import sys\nfrom pidproof.server.decode import decode\n"
        "assert 'json' not in sys.modules\n"
        f"try: decode({raw!r})\nexcept ValueError: print('refused')"
    )
    assert run(python(code)) == "refused\n"


def test_what_is_nested_too_deep_is_a_recursion_error() -> None:
    with pytest.raises(RecursionError):
        decode(b"[" * 100_000)


def test_without_the_scanner_of_cpython_json_itself_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pidproof.server.decode._scan", None)
    assert decode(b' {"a": [1, 2.5, null]}\n') == {"a": [1, 2.5, None]}
