"""A PostgreSQL of one's own: the pip-installed server, kept in a folder, for the demo, the tests and first steps.

`EmbeddedPostgres(folder).start()` returns the URL of a database that is ready. The server listens on 127.0.0.1 (a free
port) and a unix socket, wants a password (scram) and runs detached, so that several processes may share it.
Calling either twice, or from two processes at once, does no harm. It is no server for production.

In the folder:

    pgpass     one line a role, 0600, the format of libpq's passfile
    cluster    PostgreSQL's data; a link into /var/lib/tallyback where root's server account cannot reach the folder
    lock       held while the server is started or stopped

PostgreSQL refuses to run as root. Started by root it runs as the system account `tallyback`, made on first use. If that
account cannot reach the folder or the virtual environment (a home with mode 0700), data and binaries are put under
/var/lib/tallyback; the permissions of a home are never changed.
"""

import fcntl
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from etl.core.errors import Stop
from etl.core.passfile import Passfile, write_private
from etl.core.postgres_binaries import make_state_folder, reachable_binaries
from etl.core.unprivileged import reaches, run, system_account

SUPERUSER = "postgres"
OWNER = "tallyback"
"""The role that owns the databases. It may create roles and databases and is no superuser, as in a real deployment."""

STATE_FOLDER = Path("/var/lib/tallyback")
SOCKET_PATH_BYTES = 107 - len("/.s.PGSQL.65535")
START_ATTEMPTS = 20
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # A bulk load flushes its log itself: the log's writer would do so in small pieces, and the load wait for each.
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "jit": "off",
    # Parallel queries need /dev/shm, of which a container has 64 MB by default.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The running server, as its own postmaster.pid tells."""

    pid: int
    port: int


class EmbeddedPostgres:
    """One PostgreSQL server whose data lives in `data_dir`."""

    def __init__(
        self, data_dir: Path, *, settings: Mapping[str, str] | None = None, state_folder: Path = STATE_FOLDER
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._passfile = Passfile(self.data_dir / "pgpass")
        self._settings = {**_SETTINGS, **(settings or {})}
        self._state_folder = state_folder

    def start(self) -> str:
        """Start the server unless it runs, and return the URL of its database `tallyback`."""
        with self._locked():
            account = self._account()
            binaries = reachable_binaries(account, self._state_folder)
            if not self._cluster.exists():
                self._initialise(account, binaries)
            if self.postmaster() is None:
                self._launch(account, binaries)
            self._ensure_role(OWNER, "LOGIN CREATEROLE CREATEDB")
        return self.create_database(OWNER)

    def stop(self) -> None:
        """Stop the server if it runs; connections still open are ended, what they had not committed is rolled back."""
        if not self._cluster.exists():
            return
        with self._locked():
            if self.postmaster() is None:
                return
            account = self._account()
            pg_ctl = reachable_binaries(account, self._state_folder) / "pg_ctl"
            done = run([pg_ctl, "-D", self._cluster.resolve(), "-m", "fast", "-w", "-t", "60", "stop"], account)
            if done.returncode != 0 and self.postmaster() is not None:
                raise Stop(f"PostgreSQL in {self.data_dir} does not stop: {done.stderr.strip()}. See {self.log_file}.")

    def remove(self) -> None:
        """Stop the server and delete everything it keeps."""
        if not self.data_dir.exists():
            return
        self.stop()
        real, is_elsewhere = self._cluster.resolve(), self._cluster.is_symlink()
        for folder in {real, real.with_name("cluster.partial"), self.socket_folder}:
            if folder.exists():
                shutil.rmtree(folder)
        if is_elsewhere:
            self._cluster.unlink()
            real.parent.rmdir()
        for file in (self.password_file, self.data_dir / "lock"):
            file.unlink(missing_ok=True)
        self.data_dir.rmdir()

    @property
    def running(self) -> bool:
        """Whether the server of this folder runs."""
        return self.postmaster() is not None

    @property
    def log_file(self) -> Path:
        """Where the server writes what it has to say."""
        return self._cluster / "server.log"

    @property
    def password_file(self) -> Path:
        """The passwords, in the format of libpq's passfile."""
        return self._passfile.path

    @property
    def socket_folder(self) -> Path:
        """Where the unix socket is: with the data, or, as its path has at most 107 bytes, in the temporary folder."""
        cluster = self._cluster.resolve()
        if len(os.fsencode(cluster)) <= SOCKET_PATH_BYTES:
            return cluster
        return Path(tempfile.gettempdir()) / f"tallyback-{_digest(cluster)}"

    def postmaster(self) -> Postmaster | None:
        """Return the running server, or None; what a killed server left, or a pid used again, is no server."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise Stop(
                f"{self._cluster} belongs to somebody else. Run this as its owner, or name another folder."
            ) from error
        if len(lines) < 4 or not lines[0].isdigit() or not lines[3].isdigit():
            return None
        pid, words = int(lines[0]), _command_line(int(lines[0]))
        is_ours = bool(words) and words[0].endswith("postgres") and str(self._cluster.resolve()) in words
        return Postmaster(pid, int(lines[3])) if is_ours else None

    def url(self, database: str = OWNER, role: str = OWNER) -> str:
        """Return the URL (TCP, with the password) of a database for a role. Raises Stop if the server is down."""
        server = self.postmaster()
        if server is None:
            raise Stop(
                f"PostgreSQL in {self.data_dir} is not running. "
                f"Start it: python -m etl.core.embedded start --dir {self.data_dir}"
            )
        password = self._passfile.passwords().get(role)
        if password is None:
            raise Stop(f"{self.password_file} has no password of role {role!r}. Make the role with create_role().")
        return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{server.port}/{_checked(database)}"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Create a database owned by the role `tallyback`, a copy of `template`, unless it is there; return its URL."""
        with self._admin() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_checked(name)]).fetchone() is None:
                statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
                identifiers = [sql.Identifier(part) for part in (name, OWNER, _checked(template))]
                # Another process may make it in this very moment.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(statement.format(*identifiers))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it is there, ending the connections to it."""
        with self._admin() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_checked(name)))
            )

    def create_role(self, name: str, *, member_of: Sequence[str] = ()) -> None:
        """Create a role that may log in, with a password of its own, as a member of the roles named."""
        with self._locked():
            self._ensure_role(_checked(name), "LOGIN")
        with self._admin() as connection:
            for group in member_of:
                connection.execute(
                    sql.SQL("GRANT {} TO {}").format(sql.Identifier(_checked(group)), sql.Identifier(name))
                )

    # --- the folder -------------------------------------------------------------------------------------------------

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if re.search(r'["$`\\\n]', str(self.data_dir)):
            raise Stop(
                f"The folder {self.data_dir} has a quote, dollar, backslash or line break in its name. Name another."
            )
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
            handle = (self.data_dir / "lock").open("a")
        except PermissionError as error:
            raise Stop(
                f"No permission to write in {self.data_dir}. Run this as its owner, or name another folder."
            ) from error
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    # --- who runs the server, and with what -------------------------------------------------------------------------

    def _account(self) -> pwd.struct_passwd | None:
        """Return the account the server runs as if we are root, else None: it runs as we do."""
        if os.geteuid() != 0:
            return None
        if self._cluster.exists():
            return pwd.getpwuid(self._cluster.stat().st_uid)
        return system_account()

    def _initialise(self, account: pwd.struct_passwd | None, binaries: Path) -> None:
        """Make the cluster under another name and rename it: a killed initdb leaves nothing that looks whole."""
        home = self.data_dir
        if account is not None and not reaches(account, home):
            make_state_folder(self._state_folder)
            home = self._state_folder / f"data-{_digest(self.data_dir)}"
            home.mkdir(exist_ok=True)
        if self._cluster.is_symlink():
            self._cluster.unlink()  # It points at a cluster that is gone.
        partial, cluster = home / "cluster.partial", home / "cluster"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(mode=0o700)
        with tempfile.TemporaryDirectory(prefix="tallyback-") as scratch:
            secret = Path(scratch) / "password"
            write_private(secret, self._passfile.password(SUPERUSER))
            if account is not None:
                for path in (Path(scratch), secret, partial):
                    os.chown(path, account.pw_uid, account.pw_gid)
            how = f"-U {SUPERUSER} --auth=scram-sha-256 --encoding=UTF8 --locale=C --locale-provider=builtin"
            words: list[str | Path] = [*how.split(), "--builtin-locale=C.UTF-8", f"--pwfile={secret}", "-D", partial]
            done = run([binaries / "initdb", *words], account)
        if done.returncode != 0:
            raise Stop(f"PostgreSQL could not make its data folder {cluster}: {done.stderr.strip()}")
        if cluster.exists():
            shutil.rmtree(cluster)  # Left by a folder that was deleted by hand: its password is gone.
        partial.rename(cluster)
        if home != self.data_dir:
            self._cluster.symlink_to(cluster)

    def _launch(self, account: pwd.struct_passwd | None, binaries: Path) -> None:
        cluster = self._cluster.resolve()
        if account is not None and not reaches(account, cluster):
            raise Stop(
                f"The account {account.pw_name} no longer reaches {cluster}. Delete {self.data_dir}, start again."
            )
        # We hold the lock and know that nobody serves this folder.
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        self._make_socket_folder(account)
        log = cluster / "server.log"
        for _attempt in range(START_ATTEMPTS):
            said_before = log.stat().st_size if log.exists() else 0
            settings = {"port": str(_free_port()), "unix_socket_directories": str(self.socket_folder), **self._settings}
            options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
            where: list[str | Path] = ["-D", cluster, "-l", log, "-w", "-t", "60"]
            done = run([binaries / "pg_ctl", *where, "-o", options, "start"], account)
            if done.returncode == 0:
                return
            said = log.read_bytes()[said_before:].decode(errors="replace") if log.exists() else ""
            # Backends of a killed server live on for a moment; a port found free may be taken by now.
            if "shared memory block" not in said and "Address already in use" not in said:
                raise Stop(f"PostgreSQL in {self.data_dir} does not start: {(said or done.stderr).strip()[-2000:]}")
            time.sleep(0.5)
        raise Stop(f"PostgreSQL in {self.data_dir} did not start in {START_ATTEMPTS} attempts. See {self.log_file}.")

    def _make_socket_folder(self, account: pwd.struct_passwd | None) -> None:
        folder, owner = self.socket_folder, os.geteuid() if account is None else account.pw_uid
        if folder == self._cluster.resolve():
            return
        try:
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        except FileExistsError as error:
            if folder.is_symlink() or folder.stat().st_uid != owner:
                raise Stop(
                    f"{folder} is needed for PostgreSQL's socket and belongs to somebody else. Remove it."
                ) from error

    # --- inside the server ------------------------------------------------------------------------------------------

    @contextmanager
    def _admin(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.url("postgres", SUPERUSER), autocommit=True, connect_timeout=30) as connection:
            yield connection

    def _ensure_role(self, name: str, attributes: str) -> None:
        password = self._passfile.password(name)
        with self._admin() as connection:
            is_there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None
            verb = "ALTER" if is_there else "CREATE"
            statement = sql.SQL(f"{verb} ROLE {{}} {attributes} PASSWORD {{}}")
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(password)))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Stop(f"{name!r} is no name for a database or role here. Use a-z, 0-9 and _, 63 at most, no digit first.")
    return name


def _digest(path: Path) -> str:
    return sha256(os.fsencode(path)).hexdigest()[:16]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _command_line(pid: int) -> list[str]:
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
        except (FileNotFoundError, ProcessLookupError):
            return []
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return shown.split()


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, stop, show or remove the embedded PostgreSQL of a folder."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m etl.core.embedded", description=main.__doc__)
    parser.add_argument("command", choices=["start", "stop", "status", "remove"])
    parser.add_argument("--dir", type=Path, default=Path(".tallyback/postgres"), help="where the data is (%(default)s)")
    chosen = parser.parse_args(arguments)
    server = EmbeddedPostgres(chosen.dir)
    try:
        if chosen.command == "start":
            server.start()
        elif chosen.command == "stop":
            server.stop()
        elif chosen.command == "remove":
            server.remove()
        postmaster = server.postmaster()
    except Stop as error:
        print(error)
        return 1
    if postmaster is None:
        print(f"PostgreSQL in {server.data_dir} is not running.")
        return 3 if chosen.command == "status" else 0
    print(f"PostgreSQL in {server.data_dir} runs: port {postmaster.port}, pid {postmaster.pid}; log {server.log_file}")
    print(f'psql "host=127.0.0.1 port={postmaster.port} dbname={OWNER} user={OWNER} passfile={server.password_file}"')
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
