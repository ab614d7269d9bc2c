"""Handlers that use Django's ORM, as those of a Django project do."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asgiref.sync import sync_to_async
from celery import shared_task

from handlers import BaseHandler, handler


def count_users() -> int:
    from django.contrib.auth.models import User

    return User.objects.count()


def query_of_one_second() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_sleep(1)")
        elif connection.vendor == "mysql":
            cursor.execute("SELECT SLEEP(1)")
        else:
            cursor.execute("SELECT 1")
            time.sleep(1)  # noqa: TID251 - SQLite has no query that sleeps


@handler("orm_async")
class OrmAsync(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        from django.contrib.auth.models import User

        return {"users": await User.objects.acount()}


@handler("orm_to_thread")
class OrmToThread(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"users": await asyncio.to_thread(count_users)}


@handler("orm_plain")
class OrmPlain(BaseHandler):
    def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"users": count_users()}


@handler("orm_slow")
class OrmSlow(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        await sync_to_async(query_of_one_second)()
        return {}


@shared_task(name="orm.count_users")
def count_users_task() -> int:
    return count_users()
