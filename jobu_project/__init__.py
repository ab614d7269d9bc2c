"""Composition root: configuration, Django settings, the Celery app, URLs. The only reader of YAML
and environment.
"""

from jobu_project.celery import app as celery_app

__all__ = ["celery_app"]
