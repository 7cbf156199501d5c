"""Which names a file on somebody else's server may have before we use it as a name of our own."""

import unicodedata

from etl.core.errors import Stop

NAME_BYTES_MAX = 255
UNFINISHED_SUFFIXES = (".part", ".filepart", ".tmp", ".partial", ".crdownload")
_REFUSED_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half a character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


def why_unusable(name: str) -> str | None:
    """Return why a remote file's name must not be used, None if it may be: it is one plain, visible name, and
    finished.
    """
    if not name or name in (".", ".."):
        return "it is no file name"
    if "/" in name or "\\" in name:
        return "it holds a path separator"
    for character in name:
        reason = _REFUSED_CATEGORIES.get(unicodedata.category(character))
        if reason is not None:
            return f"it holds {reason} (U+{ord(character):04X})"
    if len(name.encode()) > NAME_BYTES_MAX:
        return f"it is longer than {NAME_BYTES_MAX} bytes"
    if name.startswith("."):
        return "it is hidden (begins with a dot)"
    if name.lower().endswith(UNFINISHED_SUFFIXES):
        return "it is unfinished, by its ending"
    return None


def shown(name: str) -> str:
    """Return a remote name as it can be printed: quoted, escaped, not longer than a line."""
    text = ascii(name)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(name)} characters)"


def usable_path(path: str, connection: str) -> str:
    """Return a remote file's path if its folders are plain and its name usable; raises Stop that says what is wrong."""
    *folders, name = path.split("/")
    reason = why_unusable(name)
    if reason is None and ".." in folders:
        reason = "it climbs out of its folder with '..'"
    if reason is None and any(not each.isprintable() for each in path):
        reason = "it holds a character that cannot be printed"
    if reason is not None:
        raise Stop(
            f"{connection}: the remote file {shown(path)} is not touched: {reason}. Have it renamed, or correct the "
            "path."
        )
    return path
