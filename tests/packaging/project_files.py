"""Which files belong to the project."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pathspec

ROOT = Path(__file__).resolve().parent.parent.parent


def tracked_files() -> set[str]:
    """Paths of the files that git tracks and that are there, relative to the root.

    In an unpacked sdist, where no git can tell, all files that .gitignore does not name.
    """
    if not (ROOT / ".git").exists():
        return files_not_ignored()
    return {name for name in _git_ls_files() if (ROOT / name).is_file()}


def files_not_ignored() -> set[str]:
    """The tracked files, and those that `git add --all` would add."""
    if (ROOT / ".git").exists():
        names = _git_ls_files("--cached", "--others", "--exclude-standard")
        return {name for name in names if (ROOT / name).is_file()}
    text = (ROOT / ".gitignore").read_text(encoding="utf-8")
    ignored = pathspec.GitIgnoreSpec.from_lines(text.splitlines())
    found = set()
    for folder, folders, files in os.walk(ROOT):
        below = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not ignored.match_file(f"{below / name}/")]
        found |= {str(below / name) for name in files if not ignored.match_file(below / name)}
    return found - {"PKG-INFO"}


def _git_ls_files(*options: str) -> list[str]:
    # Without the variables of a git hook that runs the tests: they may name another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    listed = subprocess.run(
        ["git", "ls-files", "-z", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
    )
    return [name for name in os.fsdecode(listed.stdout).split("\0") if name]
