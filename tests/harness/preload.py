"""Imports for the fork server what beats, workers, web and commands import without settings.

Of jobu itself only modules without a state that an import fills: handlers that register themselves
and models are imported by each program, as in production.
"""

import asyncmy  # noqa: F401
import asyncpg  # noqa: F401
import celery.apps.beat
import celery.apps.worker
import celery.bin.beat
import celery.bin.celery
import celery.bin.worker
import celery.concurrency.prefork
import celery.concurrency.solo
import celery.concurrency.thread
import celery.worker.consumer  # noqa: F401
import croniter  # noqa: F401
import django.contrib.admin.apps
import django.contrib.admin.sites
import django.contrib.admin.views.main
import django.contrib.auth.apps
import django.contrib.auth.hashers
import django.contrib.auth.password_validation
import django.contrib.messages.apps
import django.contrib.messages.views
import django.contrib.sessions.backends.db
import django.contrib.sitemaps
import django.contrib.staticfiles.apps
import django.contrib.syndication.views
import django.core.management
import django.core.wsgi
import django.db.backends.postgresql.base
import django.db.backends.sqlite3.base
import django.db.migrations
import django.db.models
import django.http
import django.template.defaulttags
import django.template.loader_tags
import django.template.smartif
import django.test
import django.urls
import django.views.debug
import django.views.static  # noqa: F401
import django_celery_results.managers
import django_celery_results.utils  # noqa: F401
import django_stubs_ext  # noqa: F401
import gunicorn.app.wsgiapp
import gunicorn.workers.gthread  # noqa: F401
import holidays  # noqa: F401
import kombu.transport.pyamqp
import kombu.transport.redis
import kombu.transport.virtual  # noqa: F401
import psycopg  # noqa: F401
import pymysql  # noqa: F401
import pythonjsonlogger.json  # noqa: F401
import rich.progress
import rich.table  # noqa: F401
import unfold.dataclasses
import unfold.utils  # noqa: F401
import whitenoise.base  # noqa: F401
import yaml  # noqa: F401

import dbpools  # noqa: F401
import handlers
import handlers.runner  # noqa: F401
import scheduler.alert_settings
import scheduler.alerts.channels.opening
import scheduler.conf
import scheduler.events
import scheduler.operations.redaction
import scheduler.schedule
import scheduler.schedule.fingerprint
import scheduler.schedule.plan
import scheduler.worker.bridge
import scheduler.worker.child_runs
import scheduler.worker.event_sender  # noqa: F401
