"""Every setting of Netra: read from the environment here and nowhere else.

A value that is wrong, or missing and needed, ends the start of any process with the name of its variable.
Booleans are on/off/1/0/true/false/yes/no, durations decimal seconds, lists comma-separated.
"""

import re
from datetime import timedelta
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import parse_url

BASE_DIR = Path(__file__).resolve().parent.parent


def text(name: str, default: str | None = None) -> str:
    value = environ.get(name, "").strip() or default
    if value is None:
        raise ImproperlyConfigured(f"{name} is not set. It must be given in the environment (see .env.example).")
    return value


def flag(name: str, default: bool) -> bool:
    value = text(name, "on" if default else "off").lower()
    if value in ("on", "1", "true", "yes"):
        return True
    if value in ("off", "0", "false", "no"):
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}; it must be on, off, 1, 0, true or false.")


def number(name: str, default: int, least: int, most: int = 10**9) -> int:
    value = text(name, str(default))
    if not re.fullmatch(r"\d{1,10}", value) or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number from {least} to {most}.")
    return int(value)


def seconds(name: str, default: float, least: float) -> float:
    value = text(name, str(default))
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value) or float(value) < least:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a number of seconds, at least {least}.")
    return float(value)


def names(name: str, default: str | None = None) -> list[str]:
    found = [part.strip() for part in text(name, default).split(",") if part.strip()]
    if not found and default is None:
        raise ImproperlyConfigured(f"{name} is empty. It must be given in the environment (see .env.example).")
    return found


DEBUG = flag("DEBUG", False)
SECRET_KEY = text("SECRET_KEY")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured(
        "SECRET_KEY is too short: it signs the users' tokens and must have at least 32 characters."
    )
PORT = number("PORT", 8000, 1, 65535)
ALLOWED_HOSTS = names("ALLOWED_HOSTS")
ALLOWED_ORIGINS = names("ALLOWED_ORIGINS")
for origin in ALLOWED_ORIGINS:
    if not re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?", origin):
        raise ImproperlyConfigured(
            f"ALLOWED_ORIGINS has {origin!r}; an origin is http(s)://host[:port] and nothing after it."
        )

NETRA_HTTPS = flag("NETRA_HTTPS", not DEBUG)
NETRA_VAR = BASE_DIR / text("NETRA_VAR", "var")

# ---- Agents and runs -------------------------------------------------------------------------------------
AGENTS = {
    "advisor": "agents.advisor.advisor",
    "assistant": "agents.assistant.assistant",
    "echo": "agents.echo.echo",
}
for entry in names("NETRA_AGENTS", ""):
    agent, _, path = entry.partition("=")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", agent) or not re.fullmatch(r"\w+(\.\w+)+", path):
        raise ImproperlyConfigured(f"NETRA_AGENTS has {entry!r}; an entry is name=dotted.path.to.function.")
    if agent in AGENTS:
        raise ImproperlyConfigured(f"NETRA_AGENTS has {entry!r}; there is an agent {agent!r} already: {AGENTS[agent]}.")
    AGENTS[agent] = path

NETRA_LEASE_SECONDS = seconds("NETRA_LEASE_SECONDS", 30, 0.2)
NETRA_MAX_ATTEMPTS = number("NETRA_MAX_ATTEMPTS", 3, 1, 100)
NETRA_RUN_TIMEOUT = seconds("NETRA_RUN_TIMEOUT", 600, 0.2)
NETRA_CONCURRENCY = number("NETRA_CONCURRENCY", 20, 1, 10_000)
NETRA_DRAIN_SECONDS = seconds("NETRA_DRAIN_SECONDS", 20, 0)
NETRA_POLL_SECONDS = seconds("NETRA_POLL_SECONDS", 1, 0.05)
NETRA_HEAL_SECONDS = seconds("NETRA_HEAL_SECONDS", 15, 0.1)
NETRA_HEAL_ACTIVE_SECONDS = seconds("NETRA_HEAL_ACTIVE_SECONDS", 2, 0.1)
NETRA_AUTHENTICATE_SECONDS = seconds("NETRA_AUTHENTICATE_SECONDS", 10, 0.1)

# ---- The model and its tools -----------------------------------------------------------------------------
NETRA_MODEL = text("NETRA_MODEL", "")
if NETRA_MODEL and not re.fullmatch(r"(openai|anthropic|ollama):\S+", NETRA_MODEL):
    raise ImproperlyConfigured(f"NETRA_MODEL is {NETRA_MODEL!r}; it must be openai:, anthropic: or ollama: and a name.")
_provider = NETRA_MODEL.partition(":")[0].upper()
# For OpenAI and Ollama the URL ends in /v1 as a rule, for Anthropic it does not.
NETRA_MODEL_URL = text("NETRA_MODEL_URL", environ.get(f"{_provider}_BASE_URL", ""))
NETRA_MODEL_KEY = text("NETRA_MODEL_KEY", environ.get(f"{_provider}_API_KEY", ""))
NETRA_MODEL_TIMEOUT = seconds("NETRA_MODEL_TIMEOUT", 60, 0.1)
NETRA_MODEL_STEPS = number("NETRA_MODEL_STEPS", 15, 1)
NETRA_MODEL_TOOL_CALLS = number("NETRA_MODEL_TOOL_CALLS", 30, 0)
NETRA_MODEL_TOKENS = number("NETRA_MODEL_TOKENS", 300_000, 1)
NETRA_WEB_FETCH = flag("NETRA_WEB_FETCH", False)
NETRA_MCP_SERVERS: dict[str, dict[str, str]] = {}
for entry in names("NETRA_MCP_SERVERS", ""):
    server, _, url = entry.partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9]{0,31}", server) or urlsplit(url).scheme not in ("http", "https"):
        raise ImproperlyConfigured(f"NETRA_MCP_SERVERS has an entry that is not name=http(s)://…: {server!r}.")
    NETRA_MCP_SERVERS[server] = {"url": url, "token": text(f"NETRA_MCP_{server.upper()}_TOKEN", "")}

NETRA_METRICS_TOKEN = text("NETRA_METRICS_TOKEN", "")
if NETRA_METRICS_TOKEN and not re.fullmatch(r"[\x21-\x7e]{16,}", NETRA_METRICS_TOKEN):
    raise ImproperlyConfigured("NETRA_METRICS_TOKEN must have at least 16 characters, printable ASCII without spaces.")

# ---- Users and tokens ------------------------------------------------------------------------------------
AUTH_USER_MODEL = "chat.User"
NETRA_OPEN_REGISTRATION = flag("NETRA_OPEN_REGISTRATION", True)
NETRA_LIMITS = flag("NETRA_LIMITS", True)
# Whoever is trusted to say that a request came over HTTPS is trusted to say from where.
NETRA_PROXIES = number("NETRA_PROXIES", 1 if NETRA_HTTPS else 0, 0, 10)
NETRA_ACCESS_TOKEN_SECONDS = seconds("NETRA_ACCESS_TOKEN_SECONDS", 900, 1)
NETRA_REFRESH_TOKEN_SECONDS = seconds("NETRA_REFRESH_TOKEN_SECONDS", 1_209_600, 1)
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": SECRET_KEY,
    "AUDIENCE": "netra",
    "ISSUER": "netra",
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=NETRA_ACCESS_TOKEN_SECONDS),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=NETRA_REFRESH_TOKEN_SECONDS),
    "CHECK_REVOKE_TOKEN": True,
    "USER_ID_CLAIM": "user_id",
}
AUTH_PASSWORD_VALIDATORS = [
    # It compares letters regardless of their order: at the usual 0.7 a random password is like a random address.
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"max_similarity": 0.9},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Ten failures for an account from an address lock it for that address; in the database, so with or without Redis.
AXES_ENABLED = NETRA_LIMITS
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "chat.limits.address_of"
AXES_USERNAME_CALLABLE = "chat.auth.account"
AXES_USERNAME_FORM_FIELD = "username"
AXES_LOCKOUT_CALLABLE = "chat.errors.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken", "next"]
AXES_DISABLE_ACCESS_LOG = True  # chat/audit.py has it
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# E-mail: for new passwords, and only where this is set.
NETRA_EMAIL_URL = text("NETRA_EMAIL_URL", "")
DEFAULT_FROM_EMAIL = text("NETRA_EMAIL_FROM", "netra@localhost")
_mail = urlsplit(NETRA_EMAIL_URL)
try:
    EMAIL_PORT = _mail.port or {"": 25, "smtp": 25, "smtp+tls": 587, "smtps": 465}[_mail.scheme]
    if bool(_mail.hostname) != bool(NETRA_EMAIL_URL):
        raise ValueError
except (KeyError, ValueError):  # the URL may hold a password: it is not repeated
    raise ImproperlyConfigured(
        "NETRA_EMAIL_URL must be smtp://, smtp+tls:// or smtps://[user:password@]host[:port]."
    ) from None
EMAIL_HOST, EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.hostname or "", _mail.scheme == "smtps", _mail.scheme == "smtp+tls"
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
EMAIL_TIMEOUT = 20
PASSWORD_RESET_TIMEOUT = 86_400

# ---- Database and channel layer --------------------------------------------------------------------------
DATABASE_URL = text("DATABASE_URL")
try:
    DATABASES: dict[str, Any] = {"default": dict(dj_database_url.parse(DATABASE_URL))}
except Exception:  # the URL may hold a password: it is not repeated
    raise ImproperlyConfigured(
        "DATABASE_URL cannot be read; it is sqlite:///path or postgres://user:password@host/name."
    ) from None
if DATABASES["default"]["NAME"] in ("", ":memory:"):
    raise ImproperlyConfigured("DATABASE_URL names no database: every process has to find the same one.")
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Without IMMEDIATE two writers upgrade their read locks and one of them loses its update.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # Workers empty the log all the time (chat/sql.py); who commits has to only where that is not enough.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000; "
        "PRAGMA wal_autocheckpoint=10000",
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A host that is gone without a word is given up in half a minute, not in hours; what the URL says of it wins.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 10,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "prepare_threshold": 0,  # what chat/sql.py gives the driver is planned once a connection; Django's own never is
        **DATABASES["default"].get("OPTIONS", {}),
    }
else:
    raise ImproperlyConfigured("DATABASE_URL must name SQLite (sqlite:///path) or PostgreSQL (postgres://…).")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = text("REDIS_URL")
try:
    if not {"host", "path"} & parse_url(REDIS_URL).keys():
        raise ValueError
except ValueError:  # the URL may hold a password: it is not repeated
    raise ImproperlyConfigured("REDIS_URL must be redis://host:port/n, rediss://… or unix:///path.") from None
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_connect_timeout": 1}], "prefix": "netra"},
    },
}

# ---- Django ----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "csp",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "servestatic",
    "chat",
    "agents",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "netra.urls"
ASGI_APPLICATION = "netra.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
MEDIA_ROOT = NETRA_VAR  # attachments; reached through /api/attachments only
STATIC_URL = "/static/"
STATIC_ROOT = NETRA_VAR / "static"
# Third-party scripts are installed by npm and served from there; none is in the tree.
STATICFILES_DIRS = [
    (f"vendor/{name}", BASE_DIR / "node_modules" / folder)
    for name, folder in (
        ("marked", "marked/lib"),
        ("dompurify", "dompurify/dist"),
        ("d3-dsv", "d3-dsv/dist"),
        ("highlight.js", "@highlightjs/cdn-assets/es"),
        ("katex", "katex/dist"),
        ("chart.js", "chart.js/dist"),
        ("color", "@kurkle/color/dist"),
    )
]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_MAX_AGE = 60
SERVESTATIC_ALLOW_ALL_ORIGINS = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["chat.auth.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chat.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Netra",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",  # from the package, not from a CDN
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
CSRF_FAILURE_VIEW = "chat.errors.csrf_failure"

# ---- Security headers ------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
SECURE_SSL_REDIRECT = NETRA_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(metrics|health|api/health)$"]  # asked from inside, past the proxy
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NETRA_HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if NETRA_HTTPS else 0
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = NETRA_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
# HSTS for sub-domains and the preload list: a user's whole domain is not ours to pin.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

NETRA_LOG = text("NETRA_LOG", "text" if DEBUG else "json")
if NETRA_LOG not in ("json", "text"):
    raise ImproperlyConfigured(f"NETRA_LOG is {NETRA_LOG!r}; it must be json or text.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "chat.logs.formatter", "form": NETRA_LOG}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "django.server": {"level": "WARNING"},
        "axes": {"level": "ERROR"},  # chat/audit.py has it
        "httpx": {"level": "WARNING"},  # at INFO they write every address to the log, with what is in it
        "httpx2": {"level": "WARNING"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # a traceback for every scanner that passes by
    },
}
