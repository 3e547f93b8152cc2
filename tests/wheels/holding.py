# SPDX-License-Identifier: MIT
"""What a wheel has to hold and what it must not, read without any tool but zipfile."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import zipfile
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any

from wheels.making import ROOT, Failure
from wheels.targets import ABI, LIMIT


if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MODULE", "check_holding"]

MODULE = "pidproof/_pp.abi3.so"
# What a build leaves in a module of where it was made.
PLACES = re.compile(rb"/(?:root|home|work|tmp|Users|private|builds?)/[\w./-]*|csrc/\w+\.c")


def check_holding(wheel: Path) -> None:
    """Check size, names, the hashes in RECORD, the tags, the bill and what the module tells."""
    size = wheel.stat().st_size
    if size > LIMIT:
        raise Failure(f"{wheel.name} has {size} bytes, over {LIMIT}")
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if len(files) != len(archive.namelist()):
        raise Failure(f"{wheel.name} holds a file twice")
    name, version = wheel.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    check_names(files, info)
    check_record(files, info)
    tags = BytesParser().parsebytes(files[f"{info}/WHEEL"])
    named = [f"{ABI}-{tag}" for tag in wheel.stem.partition(f"-{ABI}-")[2].split(".")]
    if tags["Root-Is-Purelib"] != "false" or sorted(tags.get_all("Tag", [])) != sorted(named):
        raise Failure(f"{wheel.name}: WHEEL says {tags.items()}")
    check_bill(json.loads(files[f"{info}/sboms/pidproof.cdx.json"]), version)
    if place := PLACES.search(files[MODULE]):
        raise Failure(f"{wheel.name} tells where it was built: {place[0].decode()}")


def check_names(files: dict[str, bytes], info: str) -> None:
    """Check that it holds the package as it is in the tree, its module and its papers, no more."""
    package = ROOT / "src" / "pidproof"
    wanted = {
        f"pidproof/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    }
    papers = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt"}
    papers |= {"licenses/LICENSE", "sboms/pidproof.cdx.json"}
    wanted |= {MODULE, *(f"{info}/{paper}" for paper in papers)}
    if set(files) != wanted:
        raise Failure(f"the wheel lacks {wanted - set(files)}, and has {set(files) - wanted}")


def check_record(files: dict[str, bytes], info: str) -> None:
    """Check that RECORD names every file with its hash and size, itself with neither."""
    record = f"{info}/RECORD"
    rows = [tuple(row) for row in csv.reader(files[record].decode().splitlines())]
    wanted = [(record, "", "")]
    for name, content in files.items():
        if name != record:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            wanted.append((name, f"sha256={digest.decode()}", str(len(content))))
    if sorted(rows) != sorted(wanted):
        raise Failure(f"RECORD differs: {set(rows) ^ set(wanted)}")


def check_bill(bill: dict[str, Any], version: str) -> None:
    """Check that the bill tells of this version, and of all that is in the module besides."""
    ours = bill["metadata"]["component"]
    names = [one["name"] for one in bill["components"]]
    if (bill["bomFormat"], ours["name"], ours["version"]) != ("CycloneDX", "pidproof", version):
        raise Failure(f"the bill is of {ours}")
    if names != ["cffi"] or not all(one["version"] for one in bill["components"]):
        raise Failure(f"the bill names {names}")
    if {"serialNumber", "timestamp"} & {*bill, *bill["metadata"]}:
        raise Failure("the bill is another one each time")
