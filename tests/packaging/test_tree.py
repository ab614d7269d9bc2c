"""What lies in the repository: sources, and nothing that is built or downloaded."""

from __future__ import annotations

from pathlib import Path

from tests.packaging.project_files import ROOT, tracked_files

LARGEST_BYTES = 512 * 1024
PICTURES = {".png", ".jpg", ".svg", ".webp", ".gif"}


def test_no_file_but_a_picture_is_larger_than_512_kilobytes() -> None:
    large = [
        name
        for name in sorted(tracked_files())
        if Path(name).suffix not in PICTURES and (ROOT / name).stat().st_size > LARGEST_BYTES
    ]

    assert large == []


def test_nothing_that_is_built_is_tracked() -> None:
    built = {".whl", ".gz", ".zip", ".egg", ".pyc", ".so"}

    assert [name for name in sorted(tracked_files()) if Path(name).suffix in built] == []
