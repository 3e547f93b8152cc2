# SPDX-License-Identifier: MIT
"""The compiled part of the build, and the bill of what it holds; all else is in pyproject.toml."""

import json
import sysconfig
from importlib.metadata import version
from pathlib import Path

from setuptools import setup
from setuptools.command.egg_info import egg_info


# A free-threaded CPython has no stable ABI to tag the wheel with.
abi3 = not sysconfig.get_config_var("Py_GIL_DISABLED")


class EggInfo(egg_info):
    """Also write what PEP 770 has in a wheel: .dist-info/sboms, to where setuptools copies from."""

    def run(self) -> None:
        super().run()
        folder = Path(self.egg_info) / "sboms"
        folder.mkdir(exist_ok=True)
        text = json.dumps(bill(self.distribution.get_version()), indent=1)
        (folder / "pidproof.cdx.json").write_text(f"{text}\n", encoding="utf-8")


def bill(ours: str) -> dict[str, object]:
    """Return what a wheel holds as CycloneDX has it: no time, no number, the same each time."""

    def component(name: str, number: str, license: str) -> dict[str, object]:
        url = f"pkg:pypi/{name}@{number}"
        licenses = [{"license": {"id": license}}]
        known = {"name": name, "version": number, "purl": url, "licenses": licenses}
        return {"type": "library", "bom-ref": url, **known}

    # Its generator writes the part of the module that Python calls, with a header of its own.
    cffi = component("cffi", version("cffi"), "MIT-0")
    whole = component("pidproof", ours, "MIT")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": [cffi],
        "dependencies": [
            {"ref": whole["bom-ref"], "dependsOn": [cffi["bom-ref"]]},
            {"ref": cffi["bom-ref"]},
        ],
    }


setup(
    cffi_modules=["csrc/build_ffi.py:ffibuilder"],
    cmdclass={"egg_info": EggInfo},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
