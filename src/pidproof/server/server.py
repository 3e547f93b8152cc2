# SPDX-License-Identifier: MIT
"""The server of a key, as an object: what a launcher holds."""

from __future__ import annotations

from pidproof.server.spec import make_spec


TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from pidproof.process.pattern import ArgvPattern
    from pidproof.server.probe import Probe, Target
    from pidproof.server.results import Running, Status, Stopped

__all__ = ["Server"]


def _silent(_words: str) -> None:
    """Say nothing."""


class Server:
    """One background server per key, for all callers of this user on this machine.

        server = Server("web", ["python3", "-m", "http.server", "{port}"], probe=Http("/"))
        print(server.ensure().url)

    `{port}`, `{fd}` and `{token}` in the command and in the values of `env` are replaced by the
    port, by the descriptor of a listening socket, and by a secret of this start.

    Args:
        key: 1 to 128 letters, digits and . _ - + @ : / =
        command: a sequence of words; no shell.
        probe: `Http`, `Tcp`, `Unix`, `Exec`, `LogLine`, or a callable that gets a `Target`; None:
            ready once the command runs.
        port: "auto", a number, or None; `{port}` in the command implies "auto".
        port_env: name of the variable that carries the port.
        env: variables added to those of the caller.  cwd: the caller's, if not given.
        version: recorded; compared with that of a server which runs.
        on_mismatch: upgrade (replace an older or an incomparable version, keep a newer one),
            replace (whatever differs), reuse, or error.
        on_unknown: error, or beside: start another where the recorded one cannot be proven.
        timeout: seconds for the whole call.  startup_timeout: for one start.
        grace: between SIGTERM and SIGKILL.
        probe_timeout: for the first probe of a running server; doubled for each of the
            `failure_threshold` probes after which it counts as unhealthy.
        pattern: the argv that a server must have to be ended.
        on_event: is told in words what takes long.
    """

    def __init__(
        self,
        key: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        probe: Probe | Callable[[Target], object] | None = None,
        port: int | str | None = None,
        port_env: str = "PORT",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        version: str | None = None,
        on_mismatch: str = "upgrade",
        on_unknown: str = "error",
        timeout: float | None = None,
        startup_timeout: float = 60.0,
        grace: float = 6.0,
        probe_timeout: float = 1.0,
        failure_threshold: int = 3,
        idle_timeout: float | None = None,
        pattern: ArgvPattern | None = None,
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        self._spec = make_spec(
            key,
            command,
            probe=probe,
            port=port,
            port_env=port_env,
            env=env,
            cwd=cwd,
            version=version,
            on_mismatch=on_mismatch,
            on_unknown=on_unknown,
            timeout=timeout,
            startup_timeout=startup_timeout,
            grace=grace,
            probe_timeout=probe_timeout,
            failure_threshold=failure_threshold,
            idle_timeout=idle_timeout,
            pattern=pattern,
        )
        self._say = on_event or _silent

    @classmethod
    def recorded(cls, key: str, *, on_event: Callable[[str], None] | None = None) -> Server:
        """Return the server of a key as it was last started.

        Raises:
            KeyNotFound: nothing is recorded.
        """
        from pidproof.server.stop import recorded_spec

        server = cls.__new__(cls)
        server._spec = recorded_spec(key)
        server._say = on_event or _silent
        return server

    @property
    def key(self) -> str:
        """The key."""
        return self._spec.key

    def ensure(self) -> Running:
        """Return the one healthy server of the key, started if need be.

        Guaranteed: of all callers together at most one server is started, whoever of them dies
        when; the server returned was proven to be the recorded process, and answered its probe.
        Not guaranteed: that it is healthy still when you use it.

        Raises:
            NeverHealthy, StartTimeout, PortInUse: the start failed; nothing is left of it.
            CommandNotFound, CommandNotExecutable: of the command.
            LockTimeout: somebody else is at it for too long; carries the holder.
            IdentityUnknown: the recorded server can be neither proven nor ended.
            Refused: a server started by hand is unhealthy, or a pattern does not match.
            VersionMismatch, ProcessSurvived, StateError, LockLost.
        """
        from pidproof.server.ensure import ensure

        return ensure(self._spec, self._say)

    def start(self) -> Running:
        """Start it as by hand: `ensure` will use it and never end it.

        Raises:
            Refused: one runs already.  Else as `ensure`.
        """
        from pidproof.server.manual import start_detached

        return start_detached(self._spec, self._say)

    def status(self, *, timeout: float = 2.0) -> Status:
        """Return what is known, after one probe; changes nothing.

        Raises:
            StateError: the state cannot be read.
        """
        from pidproof.server.status import status

        return status(self.key, probe=self._spec.probe, timeout=timeout)

    def stop(self, *, timeout: float = 60.0) -> Stopped:
        """End it, whoever started it, and drop its record.  No error if it does not run.

        Raises:
            IdentityUnknown, Refused, ProcessSurvived, LockTimeout, LockLost, StateError.
        """
        from pidproof.server.stop import stop

        return stop(self.key, grace=self._spec.grace, timeout=timeout)

    def restart(self) -> Running:
        """Stop it, then start it again as it was: on its port, and by hand if it was so.

        Another caller may start it in between; that one is returned.

        Raises:
            Error: as `stop` and `ensure`.
        """
        from pidproof.server.stop import stop

        was_manual = self.status(timeout=0.0).managed == "manual"
        stop(self.key, grace=self._spec.grace, timeout=self._spec.timeout, forget=False)
        return self.start() if was_manual else self.ensure()

    def logs(self, lines: int = 100) -> list[str]:
        """Return the last lines of its log; empty if there is none.

        Raises:
            StateError: it cannot be read.
        """
        from pidproof.server.directory import KeyDirectory
        from pidproof.server.log import tail

        directory = KeyDirectory.open(self.key)
        if directory is None:
            return []
        with directory:
            return tail(directory, lines)
