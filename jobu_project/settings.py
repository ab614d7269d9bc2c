"""Django and Celery settings. All values come from config/*.yaml (jobu_project/config.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_lazy as _

from jobu_project import layout, logs
from jobu_project.brokers import folder
from jobu_project.config import Config, get_config, trusted_proxies
from jobu_project.data_directory import load_or_create_secret_key, make_data_dir
from jobu_project.databases import django_databases, pool_databases
from jobu_project.mail import TIMEOUT_SECONDS, server_of
from jobu_project.worker_pool import CONCURRENCY, pool_of
from scheduler.conf import BeatSettings, SchedulerSettings, WorkerSettings
from scheduler.look import look, page

config = get_config()


# --- Django ---------------------------------------------------------------------------------------

DATA_DIR = make_data_dir(config.data_dir)
SECRET_KEY = config.admin.secret_key or load_or_create_secret_key(DATA_DIR)
DEBUG = config.admin.debug
ALLOWED_HOSTS = list(config.admin.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(config.admin.csrf_trusted_origins)

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # This config does not discover admin modules. urls.py does, so that beat and workers import no
    # admin pages.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_results",
    "ninja",
    "jobu_project",
    "scheduler",
    *config.worker.apps,
]

# Tasks that handlers and other apps enqueue. No QUEUES: all queues that a job may use.
TASKS = {"default": {"BACKEND": "scheduler.django_tasks.JobuBackend", "QUEUES": []}}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "jobu_project.middleware.StaticFiles",
    # After the static files, because requests for them are not logged.
    "jobu_project.middleware.RequestLog",
    "jobu_project.middleware.ApiErrors",
    "jobu_project.middleware.DatabaseGate",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "jobu_project.middleware.Common",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "scheduler.admin.sign_in.SlowSignIn",
    # Before the messages, because it sets the language in which they are written.
    "scheduler.admin.personal.PreferenceMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

if config.admin.cors.origins:
    INSTALLED_APPS.append("corsheaders")
    MIDDLEWARE.insert(
        MIDDLEWARE.index("jobu_project.middleware.ApiErrors"),
        "corsheaders.middleware.CorsMiddleware",
    )
    CORS_URLS_REGEX = r"^/(?:api/|health$|ready$)"
    CORS_ALLOW_ALL_ORIGINS = "*" in config.admin.cors.origins
    CORS_ALLOWED_ORIGINS = [origin for origin in config.admin.cors.origins if origin != "*"]
    CORS_ALLOW_CREDENTIALS = config.admin.cors.allow_credentials
    CORS_EXPOSE_HEADERS = ["ETag", "Retry-After"]
    if config.admin.cors.allow_methods:
        CORS_ALLOW_METHODS = list(config.admin.cors.allow_methods)
    if config.admin.cors.allow_headers:
        CORS_ALLOW_HEADERS = list(config.admin.cors.allow_headers)

ROOT_URLCONF = "jobu_project.urls"
WSGI_APPLICATION = "jobu_project.wsgi.application"
ASGI_APPLICATION = "jobu_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": layout.TEMPLATES_DIRS,
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = django_databases(config)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = config.admin.language
LANGUAGES = [("en", "English"), ("ko", "한국어")]
LOCALE_PATHS = [layout.ROOT / "scheduler" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = config.admin.timezone

STATIC_URL = "static/"
# collectstatic creates this directory. The settings do not: beat and worker load them, too, and may
# have no right to write here.
STATIC_ROOT = Path(config.admin.static_root or DATA_DIR / "static")
# Without static_root, files are served from the packages, so that a fresh clone works without
# collectstatic. The image runs collectstatic and serves the compressed files.
WHITENOISE_USE_FINDERS = not config.admin.static_root
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

# With https, Django redirects plain HTTP and marks its cookies as secure. gunicorn decides whether
# a request used TLS: it reads X-Forwarded-Proto, and only from the proxies in FORWARDED_ALLOW_IPS.
# Django itself trusts no such header.
SESSION_COOKIE_SECURE = config.admin.https
CSRF_COOKIE_SECURE = config.admin.https
SECURE_SSL_REDIRECT = config.admin.https
# Probes on the same host read these addresses without TLS.
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^ready$", r"^metrics$"]
SECURE_HSTS_SECONDS = config.admin.hsts_seconds if config.admin.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = config.admin.https
# The check asks for HSTS preload, which puts the whole domain on a list in the browsers. Only the
# owner of the domain can decide that. MySQL and MariaDB have no indexes with conditions: theirs
# hold all rows, and nobody has to do anything about it. MariaDB has none on expressions either:
# migration 0031 makes a column of the one that jobu needs.
SILENCED_SYSTEM_CHECKS = ["security.W021", "models.W037", "models.W043"]

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

LOGGING = logs.dict_config(config.logging)

# --- Celery ---------------------------------------------------------------------------------------


def _broker(config: Config) -> tuple[str, dict[str, Any]]:
    """Returns the broker URL and the transport options.

    Every socket has a timeout, so that a broker that hangs does not block a tick of beat.
    """
    url = config.scheduler.broker_url
    if url.startswith("jobufs:"):
        return "jobufs://", folder.transport_options(DATA_DIR / "broker")
    if url.startswith(("redis:", "rediss:")):
        return url, {"socket_timeout": 5, "socket_connect_timeout": 3, "health_check_interval": 25}
    return url, {
        "confirm_publish": True,
        "connect_timeout": 3,
        "read_timeout": 30,
        "write_timeout": 5,
    }


CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = _broker(config)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # workers keep trying during an outage of the broker
CELERY_BROKER_CONNECTION_TIMEOUT = 3
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]  # not pickle: a message could then run any code in a worker
CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_BACKEND = (
    "django-db"  # for the project's own tasks; jobu's task stores its result in the execution row
)
CELERY_RESULT_EXTENDED = True
CELERY_TASK_ACKS_LATE = False  # the lease handles a crash; late ack would run long jobs twice
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_POOL = pool_of(sys.argv) or config.worker.pool
CELERY_WORKER_CONCURRENCY = config.worker.concurrency or CONCURRENCY[CELERY_WORKER_POOL]
CELERY_WORKER_SEND_TASK_EVENTS = False  # the option -E turns them on for Flower
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_ENABLE_UTC = True
CELERY_TIMEZONE = config.scheduler.default_timezone
CELERY_BEAT_SCHEDULER = "scheduler.beat:JobScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = config.scheduler.max_sleep_seconds

# --- mail -----------------------------------------------------------------------------------------

_mail = server_of(config.scheduler.mail_url)
EMAIL_HOST = _mail.host
EMAIL_PORT = _mail.port
EMAIL_HOST_USER = _mail.user
EMAIL_HOST_PASSWORD = _mail.password
EMAIL_USE_TLS = _mail.use_tls
EMAIL_USE_SSL = _mail.use_ssl
EMAIL_TIMEOUT = TIMEOUT_SECONDS
DEFAULT_FROM_EMAIL = config.scheduler.mail_from

# --- jobu -----------------------------------------------------------------------------------------

FLOWER_URL = config.admin.flower_url
TRACES_EXPORTER = config.scheduler.traces_exporter
JOBU = SchedulerSettings(
    **{name: getattr(config.scheduler, name) for name in BeatSettings.model_fields},
    **{name: getattr(config.worker, name) for name in WorkerSettings.model_fields},
    alerts=config.scheduler.alerts,
    databases=pool_databases(config),
    default_database=config.worker.database,
    admin_site="project",
    celery_app="jobu_project.celery:app",
    trusted_proxies=trusted_proxies(),
)

# --- theme of the admin ---------------------------------------------------------------------------


# The theme's login page omits Django's hidden field `next`. Without this setting, a login on
# /admin/login/ itself would end at a 404.
LOGIN_REDIRECT_URL = "admin:index"
UNFOLD = look(
    groups=[
        {
            "title": _("Celery"),
            "items": [
                page(
                    _("Task results"),
                    "task_alt",
                    "django_celery_results_taskresult",
                    "django_celery_results.view_taskresult",
                )
            ],
        }
    ]
)
