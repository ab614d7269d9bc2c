"""Imports all of jobu for the fork server of the crash tests, with their settings."""

import kombu.transport.redis  # noqa: F401

import bench.soak.sabotage.mutations  # noqa: F401
import tests.harness.preload  # noqa: F401
from jobu_project.celery import app

# Celery would otherwise import these in each child. Nothing here opens a connection.
app.loader.import_default_modules()
app.finalize()
