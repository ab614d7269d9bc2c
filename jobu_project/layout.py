"""Paths of the files of the ready-made project: in a checkout, in an image, and when installed.

In a checkout, the configuration and the site's templates are beside the packages. The wheel keeps
them inside this package, because a folder `config` or `templates` in site-packages could collide
with one of another package (pyproject.toml: `tool.hatch.build.targets.wheel.force-include`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE.parent
IS_INSTALLED = (_PACKAGE / "default_config").is_dir()

# The directory of the configuration if JOBU_CONFIG_DIR is not set.
CONFIG_DIR = _PACKAGE / "default_config" if IS_INSTALLED else ROOT / "config"
# The site's own pages; and overrides of the theme, which jobu's site in another project has, too.
TEMPLATES_DIRS = (
    (_PACKAGE if IS_INSTALLED else ROOT) / "templates",
    ROOT / "scheduler" / "admin" / "templates",
)
GUNICORN_CONFIG = (_PACKAGE if IS_INSTALLED else ROOT) / "gunicorn.conf.py"


def default_data_dir(environ: Mapping[str, str], *, is_installed: bool = IS_INSTALLED) -> Path:
    """Returns the data directory for a process without JOBU_DATA_DIR.

    The path is absolute and may not exist yet. Raises KeyError with the name of a variable that is
    missing.

    A checkout uses its folder `data/`. An installed jobu uses the user's directory for data
    (https://specifications.freedesktop.org/basedir-spec): all processes of one user find the same
    directory, wherever they start, and an upgrade of the packages does not touch it.
    """
    if not is_installed:
        return ROOT / "data"
    base = Path(environ.get("XDG_DATA_HOME") or "")
    # The specification says that a relative path is invalid and must be ignored.
    if not base.is_absolute():
        base = Path(environ["HOME"]).absolute() / ".local" / "share"
    return base / "jobu"


def start_dir() -> Path:
    """Returns the directory in which the launcher starts its parts.

    In a checkout this is the root, because Python finds the packages there. When jobu is
    installed, Python finds it from everywhere, so the parts keep the current directory: the user's
    own handlers are there.
    """
    return Path.cwd() if IS_INSTALLED else ROOT
