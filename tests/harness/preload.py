"""Imports the libraries of beats, workers and commands for the fork server, without settings."""

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
import django.contrib.admin.sites
import django.contrib.auth.hashers
import django.core.management
import django.db.backends.postgresql.base
import django.db.backends.sqlite3.base
import django.db.models
import django.http
import django.urls  # noqa: F401
import holidays  # noqa: F401
import kombu.transport.pyamqp
import kombu.transport.redis
import kombu.transport.virtual  # noqa: F401
import psycopg  # noqa: F401
import pydantic  # noqa: F401
import pymysql  # noqa: F401
import yaml  # noqa: F401

import dbpools  # noqa: F401
import handlers  # noqa: F401
import scheduler.schedule  # noqa: F401
