"""Handlers of each kind that can leave something behind: connections, processes, tasks, threads."""

from __future__ import annotations

import asyncio
from typing import Any

from dbpools import get_db
from handlers import BaseHandler, PermanentError, handler


@handler("endure_nothing")
class Nothing(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        return {}


@handler("endure_orm_async")
class OrmAsync(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        from django.contrib.auth.models import User

        return {"users": await User.objects.acount()}


@handler("endure_orm_plain")
class OrmPlain(BaseHandler):
    def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        from django.contrib.auth.models import User

        return {"users": User.objects.count()}


@handler("endure_pool")
class Pool(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        async with get_db().transaction() as transaction:
            return {"one": await transaction.fetch_val("SELECT 1")}


@handler("endure_subprocess")
class Subprocess(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", "echo done", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return {"output": output.decode()}


@handler("endure_failing")
class Failing(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        self.context.log.info("about to fail")
        raise PermanentError("as asked")
