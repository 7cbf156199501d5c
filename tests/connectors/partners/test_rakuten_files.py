"""Rakuten's files on a server that is late, in the middle of writing, or up to no good: whole days, or none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import paramiko
import pytest

from connectors.partners import connector_for
from etl.core.connector import Answer, Credentials, FetchPlace, Window
from etl.core.errors import Retry, Stop
from tests.connectors.transport.sftp_server import PASSWORD, USER, SftpServer, serving_files
from tests.parse.answers import RAKUTEN_ROW, account, rakuten_answer

FIRST = date(2026, 9, 1)
WINDOW = Window(FIRST, FIRST + timedelta(days=3))
KEYS = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with serving_files(tmp_path_factory.mktemp("reports"), *KEYS) as state:
        yield state


def name_of(network: str, day: int) -> str:
    return f"item-report_n{network}_{FIRST + timedelta(days=day):%Y%m%d}.csv"


def publish(server: SftpServer, network: str, day: int, content: bytes, at: str = "2026-09-05T06:00:00+00:00") -> None:
    path = server.root / name_of(network, day)
    path.write_bytes(content)
    seconds = datetime.fromisoformat(at).timestamp()
    os.utime(path, (seconds, seconds))


def publish_all(server: SftpServer) -> None:
    for network in ("3", "9"):
        for day in range(3):
            publish(server, network, day, rakuten_answer(RAKUTEN_ROW.replace("00AA", f"{network}{day}AA")))


def fetched(server: SftpServer, folder: Path, window: Window = WINDOW, host_key: str = "") -> list[Answer]:
    pinned = f"{server.host_key.get_name()} {server.host_key.get_base64()}"
    mine = account("rakuten", networks=("3", "9"), directory="/", host="127.0.0.1", port=server.port)
    secrets = Credentials({"username": USER, "password": PASSWORD, "host_key": host_key or pinned})
    return list(connector_for("rakuten").fetch(mine, secrets, window, FetchPlace(folder, folder)))


def told(answers: list[Answer]) -> list[tuple[str, str]]:
    return [(str(answer.window), part.name) for answer in answers for part in answer.parts]


def test_each_file_of_a_window_is_one_answer_however_the_days_are_cut(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    whole = told(fetched(server, tmp_path))
    assert len(set(whole)) == len(whole) == 6
    days = [WINDOW.from_on + timedelta(days=number) for number in range(4)]
    for cut in (1, 2):
        parts = [Window(days[0], days[cut]), Window(days[cut], days[3])]
        assert [each for part in parts for each in told(fetched(server, tmp_path, part))] == whole


def test_a_window_with_a_day_missing_is_no_window(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    (server.root / name_of("9", 1)).unlink()
    with pytest.raises(Retry, match=f"1 of 6 files are not in / yet, the first is {name_of('9', 1)}"):
        fetched(server, tmp_path)


def test_a_file_without_a_byte_is_still_being_written(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    publish(server, "9", 1, b"")
    with pytest.raises(Retry, match=f"{name_of('9', 1)} in / has no byte"):
        fetched(server, tmp_path)


def test_a_file_that_grows_while_it_is_read_is_read_again(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)

    def grow(path: Path) -> None:
        with path.open("ab") as file:
            file.write(b"more\n")

    server.after_read = grow
    with pytest.raises(Retry, match="changed while it was read"):
        fetched(server, tmp_path)
    server.after_read = None
    publish_all(server)
    assert len(fetched(server, tmp_path)) == 6


def test_a_link_is_not_followed_and_the_name_says_why(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    (server.root / name_of("3", 0)).unlink()
    (server.root / name_of("3", 0)).symlink_to("/etc/passwd")
    with pytest.raises(Retry, match="something of that name is there, but it is no regular file"):
        fetched(server, tmp_path)


def test_names_that_a_server_invents_lead_nowhere(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    server.extra_names += [
        "../../etc/passwd",
        "/etc/passwd",
        f"../{name_of('3', 0)}",
        "a\nb.csv",
        f"{name_of('3', 0)}.part",
    ]
    answers = fetched(server, tmp_path / "here")
    assert len(answers) == 6
    assert all(part.path.parent == tmp_path / "here" for answer in answers for part in answer.parts)
    assert {path.name for path in tmp_path.iterdir()} == {"here"}


def test_a_file_put_there_anew_is_another_answer_with_its_own_clock(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    before = {part.name: answer.observed_at for answer in fetched(server, tmp_path) for part in answer.parts}
    other = rakuten_answer(RAKUTEN_ROW.replace(",40,1,", ",41,1,"))
    publish(server, "9", 1, other, "2026-09-06T06:00:00+00:00")
    after = {
        part.name: (answer.observed_at, part.path) for answer in fetched(server, tmp_path) for part in answer.parts
    }
    changed = {name for name, (at, _path) in after.items() if at != before[name]}
    assert changed == {name_of("9", 1)}
    assert after[name_of("9", 1)][1].read_bytes() == other


def test_two_keys_are_pinned_while_a_server_changes_its_own(server: SftpServer, tmp_path: Path) -> None:
    publish_all(server)
    pinned = [f"{key.get_name()} {key.get_base64()}" for key in KEYS]
    assert len(fetched(server, tmp_path, host_key="\n".join(reversed(pinned)))) == 6
    with pytest.raises(Stop, match="is not the pinned one"):
        fetched(server, tmp_path, host_key=pinned[1])
    with pytest.raises(Stop, match="one a line"):
        fetched(server, tmp_path, host_key=",".join(pinned))
    # Nobody else was told the password.
    assert len(server.logins) == 1
