"""The one shape of every error: {"error": {"code", "message", "fields"?: {field: [texts]}}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from handlers import HandlerNotFoundError
from scheduler.models import (
    Alert,
    Backfill,
    CronJob,
    FailureGroup,
    JobExecution,
    JobFreeze,
)
from scheduler.operations.control import InvalidJob, NotPossible, StaleEdit
from scheduler.operations.errors import KeyInUse, describe
from scheduler.operations.frozen import Frozen
from scheduler.operations.param_words import no_handler
from scheduler.schedule import ScheduleError

# Pydantic puts these parts of a request before a field's name. The answer leaves them out.
_PLACES = frozenset({"body", "query", "path", "header", "given", "filters"})

# The error codes for answers that Django or a middleware has made, not the API itself.
CODES: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    500: "INTERNAL_ERROR",
    503: "UNAVAILABLE",
}


class ApiError(Exception):
    """An answer that reports an error. `fields`: field -> what is wrong with it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields
        self.headers = headers or {}
        super().__init__(message)


def respond(error: ApiError) -> HttpResponse:
    body = {"error": respond_body(error)}
    return JsonResponse(body, status=error.status, headers=dict(error.headers))


def respond_body(error: ApiError) -> dict[str, Any]:
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    return body | ({"fields": error.fields} if error.fields else {})


def of_status(status: int) -> ApiError:
    """Returns the error for an HTTP status that has no body."""
    messages = {
        400: _("the request cannot be understood"),
        401: _("sign in, or send a token: Authorization: Bearer jobu_..."),
        403: _("you may not do this"),
        404: _("there is nothing at this address"),
        405: _("this address does not know this method"),
        413: _("the body is too large"),
        500: _("an error that was not expected; the server's log has it"),
        503: _("the service cannot answer just now; try again"),
    }
    code = CODES.get(status, "ERROR")
    return ApiError(status, code, messages.get(status, _("the request was refused")))


def invalid(problems: Mapping[str, list[str]]) -> ApiError:
    return ApiError(400, "VALIDATION_ERROR", describe(dict(problems)), fields=problems)


def translate(error: Exception) -> ApiError | None:
    """Returns the answer to an exception of jobu, ninja or the database. None: it is a bug."""
    match error:
        case ApiError():
            return error
        case InvalidJob():
            return invalid(error.problems)
        case ScheduleError():
            return invalid({error.field: [error.reason]})
        case StaleEdit():
            message = _("it was changed since you read it; read it again")
            return ApiError(409, "STALE_EDIT", message)
        case KeyInUse():
            return ApiError(409, "IDEMPOTENCY_KEY_IN_USE", str(error))
        case Frozen():
            return ApiError(409, "FROZEN", str(error))
        case NotPossible():
            return ApiError(409, "NOT_POSSIBLE", str(error))
        case CronJob.DoesNotExist():
            return ApiError(404, "CRON_NOT_FOUND", _("there is no such job"))
        case JobExecution.DoesNotExist():
            return ApiError(404, "JOB_NOT_FOUND", _("there is no such execution"))
        case Backfill.DoesNotExist():
            return ApiError(404, "BACKFILL_NOT_FOUND", _("there is no such backfill"))
        case Alert.DoesNotExist():
            return ApiError(404, "ALERT_NOT_FOUND", _("there is no such alert"))
        case FailureGroup.DoesNotExist():
            return ApiError(404, "FAILURE_NOT_FOUND", _("there is no such kind of failures"))
        case JobFreeze.DoesNotExist():
            return ApiError(404, "FREEZE_NOT_FOUND", _("there is no such freeze"))
        case HandlerNotFoundError():
            return ApiError(404, "HANDLER_NOT_FOUND", no_handler(error))
        case ValidationError():
            return invalid(_fields_of(error))
        case Http404():
            return of_status(404)
        case AuthenticationError():
            return unauthenticated()
        case RequestDataTooBig():
            return of_status(413)
        case HttpError():
            cause = error.__cause__  # ninja wraps what a parser raises
            inner = translate(cause) if isinstance(cause, Exception) else None
            return inner or of_status(error.status_code)
        case OperationalError() | InterfaceError():
            return database_unavailable()
    return None


def database_unavailable() -> ApiError:
    message = _("the database cannot answer just now; try again")
    return ApiError(503, "DATABASE_UNAVAILABLE", message, headers={"Retry-After": "2"})


def unauthenticated(message: str = "") -> ApiError:
    error = of_status(401)
    error.message = message or error.message
    error.headers = {"WWW-Authenticate": 'Bearer realm="jobu"'}
    return error


def install(api: NinjaAPI) -> None:
    def answer(request: HttpRequest, error: Any) -> HttpResponse:
        known = translate(error)
        if known is None:
            raise error  # Django logs and answers it; the middleware gives the answer its shape
        return respond(known)

    # ninja has its own handlers for some subclasses of Exception, which would take precedence.
    for kind in (Exception, Http404, HttpError, ValidationError):
        api.add_exception_handler(kind, answer)


def _fields_of(error: ValidationError) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for item in error.errors:
        parts = [str(part) for part in item["loc"]]
        while parts and parts[0] in _PLACES:
            parts.pop(0)
        text = str(item["msg"]).removeprefix("Value error, ")
        fields.setdefault(".".join(parts) or "body", []).append(text)
    return fields
