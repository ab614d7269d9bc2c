"""The data directory and what is made in it: for this user alone, whatever the umask is."""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from jobu_project.config import ConfigError


def make_data_dir(directory: Path) -> Path:
    """Creates the directory if it does not exist, and returns it. Raises ConfigError."""
    try:
        # Only the owner may read it: it holds the database and the secret key.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            [
                f"JOBU_DATA_DIR: {directory} cannot be made: {error.strerror}; "
                "name a directory that is writable: JOBU_DATA_DIR=/path"
            ]
        ) from error
    return directory


def load_or_create_secret_key(directory: Path) -> str:
    """Returns the key that is stored in `directory`, and creates it at the first start.

    Raises ConfigError if the key can be neither created nor read. A new key is written to a draft
    file, which then gets its final name. Therefore processes that start at the same moment all read
    the same key, and a full disk leaves no half-written key.
    """
    path = directory / "secret_key"
    try:
        if not path.exists():
            descriptor, draft = tempfile.mkstemp(prefix="secret_key.", dir=directory)  # 0600
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(secrets.token_urlsafe(50))
                    file.flush()
                    os.fsync(file.fileno())
                _publish_key(draft, path)
            finally:
                os.unlink(draft)
        key = path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError(
            [
                f"JOBU_DATA_DIR: {path} can be neither made nor read: {error.strerror}; "
                "free some space there, or name a directory that is writable"
            ]
        ) from error
    if not key.strip():  # an older version wrote the final file directly; a full disk left it empty
        raise ConfigError([f"JOBU_DATA_DIR: {path} is empty; delete it, and a new key is made"])
    return key


def _publish_key(draft: str, path: Path) -> None:
    """Gives the draft file its final name `path`. Does nothing if `path` exists already."""
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # the file system has no hard links
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(Path(draft).read_text(encoding="ascii"))
            except OSError:
                path.unlink()
                raise


class PrivateSqlite(sqlite3.Connection):
    """A connection that makes its file, if it is not there yet, for this user only.

    SQLite itself would make it as the umask says. It gives its other files the same mode.
    """

    def __init__(self, database: str, *arguments: Any, **options: Any) -> None:
        if not str(database).startswith((":memory:", "file:")):
            # If it cannot be made here, SQLite says why.
            with suppress(OSError):
                os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        super().__init__(database, *arguments, **options)


def check_data_directory(**_: Any) -> list[CheckMessage]:
    """A warning if others may read the data directory. It is never refused: a volume or a share
    may have no other modes.
    """
    directory = Path(settings.DATA_DIR)
    with suppress(OSError):
        mode = stat.S_IMODE(directory.stat().st_mode)
        if os.name == "posix" and mode & stat.S_IRWXO:
            return [
                Warning(
                    f"Everybody on this host may use the data directory {directory} "
                    f"(mode {mode:04o}). It holds the secret key and, with SQLite, all jobs.",
                    hint=f"chmod 700 {directory}",
                    id="jobu.W101",
                )
            ]
    return []
