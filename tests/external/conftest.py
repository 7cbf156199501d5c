"""A real OpenSSH server on a free port, for the tests in this folder; missing software fails the test, never skips
it.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.transport.sftp import SftpSettings
from tests.connectors.transport.served import Served

START_SECONDS = 10


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a running sshd of this user's, with host keys of its own and one private key that may log in."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert program, (
        "sshd is not installed: apt-get install openssh-server (make test-external needs it; .ci/run installs it)"
    )
    keygen = shutil.which("ssh-keygen")
    assert keygen, "ssh-keygen is not installed: apt-get install openssh-client"
    folder = tmp_path_factory.mktemp("sshd")
    for kind in ("ed25519", "rsa"):
        _make_key(keygen, folder / f"host_{kind}", kind)
    _make_key(keygen, folder / "login", "ed25519")
    shutil.copy(folder / "login.pub", folder / "authorized_keys")
    if os.getuid() == 0:
        # Where sshd drops its privileges; packages leave making it to the service manager.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "sshd_config").write_text(
        f"""ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_ed25519
HostKey {folder}/host_rsa
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
    )
    log = folder / "sshd.log"
    with log.open("wb") as output:
        server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=output)
    try:
        _wait_until_listening(server, port, log)
        files = folder / "files"
        files.mkdir()
        yield Served(
            settings=SftpSettings(
                connection="bank_test",
                host="127.0.0.1",
                port=port,
                username=getpass.getuser(),
                host_keys=(" ".join((folder / "host_ed25519.pub").read_text().split()[:2]),),
                private_key=SecretStr((folder / "login").read_text()),
            ),
            local=files,
            directory=str(files),
            other_host_keys=(" ".join((folder / "host_rsa.pub").read_text().split()[:2]),),
        )
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def served(sshd: Served) -> Served:
    """Return the running server with a folder that is empty."""
    for entry in sshd.local.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return sshd


def _make_key(keygen: str, path: Path, kind: str) -> None:
    subprocess.run([keygen, "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)


def _wait_until_listening(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    for _attempt in range(START_SECONDS * 20):
        assert server.poll() is None, f"sshd ended at once:\n{log.read_text()}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd did not listen within {START_SECONDS} s:\n{log.read_text()}")
