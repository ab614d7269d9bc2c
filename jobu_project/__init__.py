"""Puts the parts of jobu together: configuration, Django settings, the Celery app, URLs.

No other package reads YAML files or environment variables.
"""

from jobu_project.celery import app as celery_app

__all__ = ["celery_app"]
