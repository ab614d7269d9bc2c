"""The Django project of the peers that keep something in the database."""

from __future__ import annotations

import os
from importlib.util import find_spec
from urllib.parse import urlsplit

_place = urlsplit(os.environ["BENCH_DATABASE_URL"])
_ENGINES = {"postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite3"}
if _place.scheme == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()

SECRET_KEY = "a key for benches only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    app for app in ("django_celery_results", "django_celery_beat") if find_spec(app) is not None
]
DATABASES = {
    "default": {
        "ENGINE": f"django.db.backends.{_ENGINES[_place.scheme]}",
        "NAME": _place.path.lstrip("/")
        if _place.scheme != "sqlite"
        else os.environ["BENCH_DATABASE_URL"].removeprefix("sqlite:///"),
        "HOST": _place.hostname or "",
        "PORT": str(_place.port or ""),
        "USER": _place.username or "",
        "PASSWORD": _place.password or "",
        "CONN_MAX_AGE": None,
    }
}
