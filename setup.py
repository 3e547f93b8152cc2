# SPDX-License-Identifier: MIT
"""The compiled part of the build; everything else is in pyproject.toml."""

import sysconfig

from setuptools import setup


# A free-threaded CPython has no stable ABI to tag the wheel with.
abi3 = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["csrc/build_ffi.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
