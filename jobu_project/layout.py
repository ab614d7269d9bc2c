"""Where the files of the ready-made project lie: in a checkout or an image, and once installed.

In a checkout, the configuration and the site's templates lie beside the packages. The wheel keeps
them inside this package, because a folder `config` or `templates` in site-packages could belong to
anybody (pyproject.toml: `tool.hatch.build.targets.wheel.force-include`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE.parent
IS_INSTALLED = (_PACKAGE / "default_config").is_dir()

# The configuration that is read where JOBU_CONFIG_DIR is not set.
CONFIG_DIR = _PACKAGE / "default_config" if IS_INSTALLED else ROOT / "config"
TEMPLATES_DIR = (_PACKAGE if IS_INSTALLED else ROOT) / "templates"
GUNICORN_CONFIG = (_PACKAGE if IS_INSTALLED else ROOT) / "gunicorn.conf.py"


def default_data_dir(environ: Mapping[str, str], *, is_installed: bool = IS_INSTALLED) -> Path:
    """The data directory where JOBU_DATA_DIR is not set. Absolute; need not exist. KeyError names
    a variable that is missing.

    `data/` of a checkout. An installed jobu keeps its data in the user's own directory for data
    (https://specifications.freedesktop.org/basedir-spec): all processes of one user find the same,
    wherever they are started, and an upgrade of the packages does not touch it.
    """
    if not is_installed:
        return ROOT / "data"
    base = Path(environ.get("XDG_DATA_HOME") or "")
    # The specification: a relative path is invalid and is ignored.
    if not base.is_absolute():
        base = Path(environ["HOME"]).absolute() / ".local" / "share"
    return base / "jobu"


def start_dir() -> Path:
    """The directory in which the launcher starts its parts.

    In a checkout its root, where the packages are found. An installed jobu is found from
    everywhere; the person's own handlers are found where the person started it.
    """
    return Path.cwd() if IS_INSTALLED else ROOT
