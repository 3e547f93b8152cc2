# SPDX-License-Identifier: MIT
"""The checks that contributors and CI run; `nox -l` lists them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox


nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
# Most tests wait for others most of the time.
PARALLEL = ["-n", "4"]
QUICK = "not slow and not faults and not thorough and not darwin"
# Tests start these; each is also the name of its Debian package.
PROGRAMS = ["redis-server", "nginx", "strace", "spin"]

WARNINGS = shlex.split("""
    -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wformat=2 -Wvla -Wpointer-arith -Wundef -fanalyzer -Werror
""")
# All of the C is run by these; the others run more of other people's programs, under its weight.
SANITIZED = [
    *("tests/native", "tests/process", "tests/lock"),
    *("tests/server/test_listener.py", "tests/server/test_start.py"),
]
# What each runner of wheels.yml builds.
CIBUILDWHEEL = [
    ("linux", "x86_64", ["cp311-manylinux_x86_64", "cp311-musllinux_x86_64"]),
    ("linux", "aarch64", ["cp311-manylinux_aarch64", "cp311-musllinux_aarch64"]),
    ("macos", "arm64", ["cp311-macosx_arm64"]),
    ("macos", "x86_64", ["cp311-macosx_x86_64"]),
]
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"


@nox.session
def tests(session: nox.Session) -> None:
    """Run the quick tests; arguments after -- go to pytest."""
    install(session, "test")
    install_programs(session)
    session.run("pytest", "-m", QUICK, *PARALLEL, *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the stress tests and races."""
    # Tests of a file stay together: some share what takes long to make.
    run_marked(session, "slow", "-n", "2", "--dist", "loadfile")


@nox.session
def thorough(session: nox.Session) -> None:
    """Run what takes minutes, and what a release is worth."""
    run_marked(session, "thorough")


@nox.session
def faults(session: nox.Session) -> None:
    """Run the tests that kill, trace or starve processes at chosen points."""
    run_marked(session, "faults", "-n", "3")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the Python with ruff, the layout of the C with clang-format, and the workflows."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    c_files = sorted([*ROOT.glob("csrc/*.c"), *ROOT.glob("csrc/*.h")])
    session.run("clang-format", "--dry-run", "-Werror", *map(str, c_files))
    lint_workflows(session)


def lint_workflows(session: nox.Session) -> None:
    """Check the workflows against their schemas, for what is unsafe, and for what they build."""
    folder = ROOT / ".github"
    schemas = {
        "github-workflows": folder.glob("workflows/*.yml"),
        "dependabot": [folder / "dependabot.yml"],
    }
    for schema, files in schemas.items():
        check = ["check-jsonschema", "--builtin-schema", f"vendor.{schema}"]
        session.run(*check, *map(str, sorted(files)))
    session.run("zizmor", "--offline", "--quiet", str(folder))
    for system, machine, wheels in CIBUILDWHEEL:
        command = ["cibuildwheel", "--platform", system, "--archs", machine]
        said = session.run(*command, "--print-build-identifiers", str(ROOT), silent=True)
        if str(said).split() != wheels:
            session.error(f"cibuildwheel would build {said!r} for {system} {machine}, not {wheels}")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package and of its tests."""
    # Read, and not run: there is nothing to compile for.
    session.install("--no-compile", "cffi", *nox.project.dependency_groups(PYPROJECT, "types"))
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Check what the documents point to, and run the examples of README.md."""
    install(session, "test")
    session.run(
        "pytest", "tests/test_docs.py", "tests/test_changelog.py", "tests/server/test_readme.py"
    )


@nox.session
def native(session: nox.Session) -> None:
    """Compile the C with every warning an error, then test it under the sanitizers."""
    if sys.platform != "linux":
        session.skip("the analyzer and the sanitizer runtimes are those of gcc on Linux")
    tmp = Path(session.create_tmp()).resolve()
    sources = [str(c) for c in sorted(ROOT.glob("csrc/*.c")) if not c.stem.endswith("_darwin")]
    with session.chdir(tmp):
        session.run("gcc", "-std=gnu11", "-O2", *WARNINGS, "-c", *sources, external=True)

    run_race(session, tmp, sources)

    # Python's own flags make overflow wrap, which would hide it here.
    c_flags = f"{SANITIZE} -fno-wrapv -fno-wrapv-pointer -fno-omit-frame-pointer -g -O1"
    # A libubsan of its own, bound to itself: a shared one shares its log with libasan, and
    # then only one of the two writes reports.
    ld_flags = f"{SANITIZE} -static-libubsan -Wl,-Bsymbolic"
    install(session, "native", env={"CC": "gcc", "CFLAGS": c_flags, "LDFLAGS": ld_flags})
    install_programs(session)
    run_sanitized(session, tmp / "report")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, beside peers and floors; -- --once, --write or --compare, and what pytest takes."""
    install(session, "bench")
    # Its own table has the times of whole batches; ours stands below.
    how = "--benchmark-disable" if "--once" in session.posargs else "--benchmark-quiet"
    session.run("pytest", "tests/benchmarks", how, *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Fuzz the C parsers for a second each; -- --seconds N, and the names of targets."""
    if shutil.which("clang") is None:
        session.skip("needs clang and its libFuzzer (Debian: clang, libclang-rt-14-dev)")
    session.run("python3", "-m", "fuzz.run", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def darwin(session: nox.Session) -> None:
    """Compile the C for macOS and run it on Linux, over a stand-in for that kernel."""
    if sys.platform != "linux":
        session.skip("the stand-in kernel is made for Linux; on a Mac the other sessions run it")
    install(session, "darwin")
    world = ["python", "tests/darwin/world.py", "python", "-m", "pytest"]
    session.run(*world, "-m", "darwin", "tests/darwin", *session.posargs)
    # The same tests as on Linux, of real processes that are shown as macOS would show them.
    same = ["tests/process", "tests/native/test_gate.py", "tests/lock/test_waiting.py"]
    session.run(*world, "-m", QUICK, *PARALLEL, *same, *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Cross-build sdist and wheels, twice, audit them, try those that run here; -- --quick.

    With -- --only WORD: build and audit those that have the word in their tag.
    """
    dist = make_wheels(session, *session.posargs)
    run_wheels(session, "audit", dist)
    if "--only" not in session.posargs:
        run_wheels(session, "try", dist, *session.posargs)


@nox.session(name="wheels-arm64")
def wheels_arm64(session: nox.Session) -> None:
    """Run the quick tests on the aarch64 wheel, under qemu; arguments after -- go to pytest."""
    dist = make_wheels(session, "--only", "manylinux_2_17_aarch64")
    run_wheels(session, "arm64", dist, "--", *session.posargs)


def make_wheels(session: nox.Session, *arguments: str) -> str:
    """Build the sdist and wheels into dist/, with what is needed for it alone."""
    if sys.platform != "linux":
        session.skip("the tools that cross-build and audit are those of Linux")
    session.install(*nox.project.dependency_groups(PYPROJECT, "wheels"))
    dist = str(ROOT / "dist")
    run_wheels(session, "make", dist, *arguments)
    return dist


def run_wheels(session: nox.Session, act: str, *arguments: str) -> None:
    """Run tests/wheels."""
    session.run("python", "-m", "wheels", act, *arguments, env={"PYTHONPATH": str(ROOT / "tests")})


def install(session: nox.Session, group: str, env: dict[str, str] | None = None) -> None:
    """Install the package, compiled anew, and a dependency group."""
    session.install(*nox.project.dependency_groups(PYPROJECT, group))
    # pip builds in the tree: objects of another session (with its flags) would be reused.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    try:
        session.install(".", env=env)
    finally:
        shutil.rmtree(ROOT / "build", ignore_errors=True)


def install_programs(session: nox.Session) -> None:
    """Install what the tests start, where that is allowed, and name what stays missing."""
    missing = [name for name in PROGRAMS if not has_program(name)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        # RUNLEVEL=1 keeps the packages from starting servers of their own.
        env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for arguments in (["update"], *(["install", "-y", name] for name in missing)):
            apt = ["apt-get", "-qq", *arguments]
            session.run(*apt, env=env, external=True, silent=True, success_codes=range(256))
        missing = [name for name in PROGRAMS if not has_program(name)]
    if missing:
        session.warn(f"not installed, so the tests that need it are skipped: {missing}")


def has_program(name: str) -> bool:
    # Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def run_marked(session: nox.Session, mark: str, *options: str) -> None:
    """Run the tests with a mark; to have none is worth a line, not a failure."""
    install(session, "test")
    install_programs(session)
    select = ["pytest", "-m", mark, *options, *session.posargs]
    found = session.run(*select, "--collect-only", "-q", silent=True, success_codes=[0, 5])
    if "no tests collected" in str(found):
        session.skip(f"no test is marked {mark}")
    session.run(*select)


def run_race(session: nox.Session, tmp: Path, sources: list[str]) -> None:
    """Begin and end waits in many threads under ThreadSanitizer; a report makes it fail."""
    race, where = tmp / "race", tmp / "race.d"
    where.mkdir(exist_ok=True)
    flags = ["-std=gnu11", "-O1", "-g", "-fsanitize=thread", f"-I{ROOT / 'csrc'}"]
    driver = str(ROOT / "tests/native/race.c")
    libraries = ["-lpthread", "-ldl"]
    session.run("gcc", *flags, driver, *sources, *libraries, "-o", str(race), external=True)
    # The addresses of newer kernels are too random for older runtimes.
    fixed = ["setarch", "-R"]
    if subprocess.run([*fixed, "true"], capture_output=True, check=False).returncode:
        fixed = []
    session.run(*fixed, str(race), str(where), "5", external=True)


def run_sanitized(session: nox.Session, report: Path) -> None:
    """Run the quick tests with the sanitizers loaded and fail on any report they wrote."""
    for old in report.parent.glob(f"{report.name}.*"):
        old.unlink()
    # Reports go to files, since a server of ours writes its standard error to a log.
    log = f"log_path={report}:print_stacktrace=1"
    env = {
        # Python itself is not instrumented, so the runtime must be there before it starts.
        "LD_PRELOAD": str(gcc_library("libasan.so")),
        # CPython never frees everything; a huge allocation is MemoryError, not a report.
        "ASAN_OPTIONS": f"{log}:detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": log,
        # Not the folder of the session: the path of a Unix socket has 107 bytes.
        "TMPDIR": tempfile.gettempdir(),
        # Buffers made by cffi come from malloc too, so that overruns of them are seen.
        "PYTHONMALLOC": "malloc",
    }
    try:
        select = ["-m", QUICK, "-o", "timeout=180", "-n", "2", *session.posargs]
        session.run("pytest", *select, *SANITIZED, env=env)
    finally:
        reports = sorted(report.parent.glob(f"{report.name}.*"))
        for path in reports:
            session.log(f"{path.name}:\n{path.read_text(errors='replace')}")
    if reports:
        session.error(f"the sanitizers wrote {len(reports)} reports, shown above")


def gcc_library(name: str) -> Path:
    command = ["gcc", f"-print-file-name={name}"]
    path = Path(subprocess.check_output(command, text=True).strip())
    # The link in gcc's folder may point to a file that only its real name loads.
    return path.resolve(strict=True)
