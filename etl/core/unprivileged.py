"""Running a server's commands as an account that is not root, which PostgreSQL insists on."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from etl.core.errors import Stop

ACCOUNT = "tallyback"
ATTEMPTS = 20
_ALREADY_THERE = 9
"""What useradd returns for an account that somebody else made just now."""


def run(command: Sequence[str | Path], account: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    """Run a command as the account (None: as we are), in an environment without PGDATA, PGPORT and the like."""
    words = [str(word) for word in command]
    return subprocess.run(
        words,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else [],
        umask=0o077,
    )


def reaches(account: pwd.struct_passwd, path: Path) -> bool:
    """Return whether the account may enter a folder or execute a file, with all folders above and all access lists."""
    return run(["/bin/sh", "-c", 'test -x "$1"', "sh", path], account).returncode == 0


def system_account() -> pwd.struct_passwd:
    """Return the system account `tallyback`, made on first use (by root), or `nobody` where accounts cannot be made."""
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    options = "--system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin"
    for _attempt in range(ATTEMPTS):
        try:
            return pwd.getpwnam(ACCOUNT)
        except KeyError:
            if useradd is None:
                break
            done = subprocess.run([useradd, *options.split(), ACCOUNT], capture_output=True, check=False)
            if done.returncode not in (0, _ALREADY_THERE):
                time.sleep(0.2)
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise Stop(f"The account {ACCOUNT} cannot be made. Run this as an ordinary user.") from error
