"""Every setting of Netra: read from the environment here and nowhere else.

A value that is wrong, or missing and needed, ends the start of any process with the name of its variable.
Booleans are on/off/1/0/true/false/yes/no, durations decimal seconds, lists comma-separated.
"""

import re
from datetime import timedelta
from fractions import Fraction
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import parse_url

from netra import mcp_servers, model_catalogue, sso
from netra.env import flag, names, number, seconds, text

BASE_DIR = Path(__file__).resolve().parent.parent

# Old name of a setting to its name today.
RENAMED = {
    "NETRA_CONCURRENCY": "NETRA_WORKER_CONCURRENCY",
    "NETRA_DRAIN_SECONDS": "NETRA_SHUTDOWN_SECONDS",
    "NETRA_HEAL_ACTIVE_SECONDS": "NETRA_RECONCILE_ACTIVE_SECONDS",
    "NETRA_HEAL_SECONDS": "NETRA_RECONCILE_SECONDS",
    "NETRA_LIMITS": "NETRA_RATE_LIMITS",
    "NETRA_LOG": "NETRA_LOG_FORMAT",
    "NETRA_PROXIES": "NETRA_TRUSTED_PROXIES",
    "NETRA_VAR": "NETRA_DATA_DIR",
}
if renamed := [f"{old} is now {new}" for old, new in RENAMED.items() if old in environ]:
    raise ImproperlyConfigured(f"Settings have new names: {', '.join(renamed)}. Rename them in the environment.")

DEBUG = flag("DEBUG", False)
SECRET_KEY = text("SECRET_KEY")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured(
        "SECRET_KEY is too short: it signs the users' tokens and must have at least 32 characters."
    )
PORT = number("PORT", 8000, 1, 65535)
# The path of the whole site: empty, or such as /netra. It never begins like one of Netra's own paths, because the
# beginning of a request's path shows whether a proxy removed the base (netra/base_path.py).
NETRA_BASE_PATH = text("NETRA_BASE_PATH", "")
OWN_SEGMENTS = {
    "admin", "agui", "api", "auth", "c", "favicon.ico", "health", "inputs", "login", "mcp", "metrics", "reset",
    "robots.txt", "s", "settings", "signup", "static", "v1", "ws",
}  # fmt: skip
if not re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}){0,8}", NETRA_BASE_PATH):
    raise ImproperlyConfigured(
        f"NETRA_BASE_PATH is {NETRA_BASE_PATH!r}; it must be empty, or a path such as /netra: no slash at its end, and "
        "only letters, digits, '-', '_' and '.' between its slashes."
    )
if NETRA_BASE_PATH.partition("/")[2].partition("/")[0] in OWN_SEGMENTS:
    raise ImproperlyConfigured(f"NETRA_BASE_PATH is {NETRA_BASE_PATH!r}, which begins like a path of Netra's own.")
ALLOWED_HOSTS = names("ALLOWED_HOSTS")
for host in ALLOWED_HOSTS:
    if not re.fullmatch(r"\*|\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]", host):
        raise ImproperlyConfigured(
            f"ALLOWED_HOSTS has {host!r}; a host is a name or [IPv6], without scheme, port or path. "
            "An international name is written in its xn-- form."
        )
ALLOWED_ORIGINS = names("ALLOWED_ORIGINS")
for origin in ALLOWED_ORIGINS:
    if not re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?", origin):
        raise ImproperlyConfigured(
            f"ALLOWED_ORIGINS has {origin!r}; an origin is http(s)://host[:port] and nothing after it. "
            "An international name is written in its xn-- form."
        )
# In the form of browsers' Origin headers, which Django compares as text.
ALLOWED_ORIGINS = [re.sub("^(http:.*):80$|^(https:.*):443$", r"\1\2", origin.lower()) for origin in ALLOWED_ORIGINS]

NETRA_HTTPS = flag("NETRA_HTTPS", not DEBUG)
NETRA_DATA_DIR = BASE_DIR / text("NETRA_DATA_DIR", "var")

# ---- Agents and runs -------------------------------------------------------------------------------------
AGENTS = {  # name to dotted path; those of NETRA_AGENTS come last
    "advisor": "agents.advisor.advisor",
    "echo": "agents.echo.echo",
}
ASSISTANT = "agents.assistant.answer"  # executes the agents that administrators define: chat/assistants
NETRA_AGENTS: dict[str, str] = {}
for entry in names("NETRA_AGENTS", ""):
    agent, _, path = entry.partition("=")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", agent) or not re.fullmatch(r"\w+(\.\w+)*[.:]\w+", path):
        raise ImproperlyConfigured(
            f"NETRA_AGENTS has {entry!r}; an entry is name=dotted.path.to.function or name=dotted.path:agent."
        )
    if agent in AGENTS:
        raise ImproperlyConfigured(f"NETRA_AGENTS has {entry!r}; there is an agent {agent!r} already: {AGENTS[agent]}.")
    AGENTS[agent] = NETRA_AGENTS[agent] = path.replace(":", ".")

NETRA_LEASE_SECONDS = seconds("NETRA_LEASE_SECONDS", 30, 0.2)
NETRA_MAX_ATTEMPTS = number("NETRA_MAX_ATTEMPTS", 3, 1, 100)
NETRA_RUN_TIMEOUT = seconds("NETRA_RUN_TIMEOUT", 600, 0.2)
NETRA_INPUT_SECONDS = seconds("NETRA_INPUT_SECONDS", 604_800, 1)
NETRA_INPUT_SECONDS_LIMIT = 2_592_000  # 30 days, also for requests whose agent asks for more
if NETRA_INPUT_SECONDS > NETRA_INPUT_SECONDS_LIMIT:
    raise ImproperlyConfigured(f"NETRA_INPUT_SECONDS must be at most {NETRA_INPUT_SECONDS_LIMIT}.")
NETRA_HELD_INPUT_SECONDS = seconds("NETRA_HELD_INPUT_SECONDS", 300, 0.1)
NETRA_INPUT_MAIL_SECONDS = seconds("NETRA_INPUT_MAIL_SECONDS", 600, 1)
NETRA_WORKER_CONCURRENCY = number("NETRA_WORKER_CONCURRENCY", 20, 1, 10_000)
_share = text("NETRA_USER_SHARE", "0.5")
if not re.fullmatch(r"0?\.\d{1,6}|1(\.0{1,6})?", _share) or not Fraction(_share):
    raise ImproperlyConfigured(f"NETRA_USER_SHARE is {_share!r}; it must be a number above 0, at most 1.")
NETRA_USER_SHARE = Fraction(_share)  # of a worker's slots that others leave: chat/runs/slots.py
NETRA_DELTA_SECONDS = seconds("NETRA_DELTA_SECONDS", 0.1, 0.01)
NETRA_COMPACT_DAYS = number("NETRA_COMPACT_DAYS", 7, 0, 36_500)
NETRA_SHUTDOWN_SECONDS = seconds("NETRA_SHUTDOWN_SECONDS", 20, 0)
NETRA_POLL_SECONDS = seconds("NETRA_POLL_SECONDS", 1, 0.05)
NETRA_RECONCILE_SECONDS = seconds("NETRA_RECONCILE_SECONDS", 15, 0.1)
NETRA_RECONCILE_ACTIVE_SECONDS = seconds("NETRA_RECONCILE_ACTIVE_SECONDS", 2, 0.1)
NETRA_AUTHENTICATE_SECONDS = seconds("NETRA_AUTHENTICATE_SECONDS", 10, 0.1)
NETRA_BODY_SECONDS = seconds("NETRA_BODY_SECONDS", 30, 0.1)

# ---- The model and its tools -----------------------------------------------------------------------------
NETRA_MODELS = model_catalogue.catalogue()
NETRA_TITLE_MODEL = model_catalogue.title_model(NETRA_MODELS)
NETRA_MODEL_TIMEOUT = seconds("NETRA_MODEL_TIMEOUT", 60, 0.1)
NETRA_MODEL_STEPS = number("NETRA_MODEL_STEPS", 15, 1)
NETRA_MODEL_TOOL_CALLS = number("NETRA_MODEL_TOOL_CALLS", 30, 0)
NETRA_MODEL_TOKENS = number("NETRA_MODEL_TOKENS", 300_000, 1)
NETRA_WEB_FETCH = flag("NETRA_WEB_FETCH", False)
NETRA_ENCRYPTION_KEYS = mcp_servers.encryption_keys()
NETRA_MCP_SERVERS = mcp_servers.servers(NETRA_ENCRYPTION_KEYS)
NETRA_MCP_CONNECT_SECONDS = seconds("NETRA_MCP_CONNECT_SECONDS", 10, 0.1)
NETRA_MCP_CALL_SECONDS = seconds("NETRA_MCP_CALL_SECONDS", 60, 0.1)
NETRA_MCP_RETRY_SECONDS = seconds("NETRA_MCP_RETRY_SECONDS", 300, 0)

NETRA_METRICS_TOKEN = text("NETRA_METRICS_TOKEN", "")
if NETRA_METRICS_TOKEN and not re.fullmatch(r"[\x21-\x7e]{16,}", NETRA_METRICS_TOKEN):
    raise ImproperlyConfigured("NETRA_METRICS_TOKEN must have at least 16 characters, printable ASCII without spaces.")

# ---- Users and tokens ------------------------------------------------------------------------------------
AUTH_USER_MODEL = "chat.User"
NETRA_OPEN_REGISTRATION = flag("NETRA_OPEN_REGISTRATION", True)
NETRA_SHARE_LINKS = text("NETRA_SHARE_LINKS", "members")
if NETRA_SHARE_LINKS not in ("off", "members", "anyone"):
    raise ImproperlyConfigured(f"NETRA_SHARE_LINKS is {NETRA_SHARE_LINKS!r}; it must be off, members or anyone.")
NETRA_RATE_LIMITS = flag("NETRA_RATE_LIMITS", True)
# A proxy that may say that a request came over HTTPS may also name the client's address.
NETRA_TRUSTED_PROXIES = number("NETRA_TRUSTED_PROXIES", 1 if NETRA_HTTPS else 0, 0, 10)
NETRA_ACCESS_TOKEN_SECONDS = seconds("NETRA_ACCESS_TOKEN_SECONDS", 900, 1)
NETRA_REFRESH_TOKEN_SECONDS = seconds("NETRA_REFRESH_TOKEN_SECONDS", 1_209_600, 1)
NETRA_SSO = sso.providers()
NETRA_SSO_ONLY = flag("NETRA_SSO_ONLY", False)
if NETRA_SSO_ONLY and not NETRA_SSO:
    raise ImproperlyConfigured("NETRA_SSO_ONLY is on, but NETRA_SSO names no provider: nobody could sign in.")
NETRA_SSO_SESSION_SECONDS = seconds("NETRA_SSO_SESSION_SECONDS", 43_200, 60)
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": SECRET_KEY,
    "AUDIENCE": "netra",
    "ISSUER": "netra",
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=NETRA_ACCESS_TOKEN_SECONDS),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=NETRA_REFRESH_TOKEN_SECONDS),
    "CHECK_REVOKE_TOKEN": True,
    "USER_ID_CLAIM": "user_id",
    # Seconds that the clock of another web process may be ahead, for `iat` and `nbf`. The library extends `exp` by it,
    # too; chat/accounts does not.
    "LEEWAY": 30,
}
AUTH_PASSWORD_VALIDATORS = [
    # The validator compares letters regardless of their order. At the default of 0.7 it finds random passwords similar
    # to random addresses.
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"max_similarity": 0.9},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Ten failures for an account from one address lock it for that address. The database counts them: Redis may be away.
AXES_ENABLED = NETRA_RATE_LIMITS
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "chat.api.client_ip.address_of"
AXES_USERNAME_CALLABLE = "chat.accounts.lockout.account"
AXES_USERNAME_FORM_FIELD = "username"
AXES_LOCKOUT_CALLABLE = "chat.api.exceptions.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken", "next"]
AXES_DISABLE_ACCESS_LOG = True  # chat/accounts/audit.py records sign-ins
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# allauth speaks with the providers; its own pages are not mounted, and it makes no account (chat/oidc).
ACCOUNT_ADAPTER = "chat.oidc.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False  # chat/limits has them
SOCIALACCOUNT_ADAPTER = "chat.oidc.adapters.SocialAccountAdapter"
SOCIALACCOUNT_STORE_TOKENS = SOCIALACCOUNT_LOGIN_ON_GET = False

# Mail for people who forgot their password, and about requests. Without this URL the page offers no reset.
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
EMAIL_TIMEOUT = 20  # seconds; Django's default waits without a limit
PASSWORD_RESET_TIMEOUT = 86_400  # seconds: the mail says 24 hours

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
    # IMMEDIATE takes the write lock at BEGIN. Otherwise, of two transactions that read and then write, one fails.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds to wait for a lock
        # 10,000 pages: a commit checkpoints only if the workers' checkpoints (chat/db/sql.py) do not suffice.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000; "
        "PRAGMA wal_autocheckpoint=10000",
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A silent host is given up after half a minute instead of hours. Options in the URL take precedence.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 10,  # seconds, as the next two
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds
        "prepare_threshold": 0,  # executions before a statement is prepared: those of chat/db/sql.py are hot
        **DATABASES["default"].get("OPTIONS", {}),
    }
else:
    raise ImproperlyConfigured("DATABASE_URL must name SQLite (sqlite:///path) or PostgreSQL (postgres://…).")
# Tokens that count once: in the database, since each process would count for itself, and Redis may be away.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "netra_cache",
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},  # beyond, it forgets also what has not expired
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = text("REDIS_URL")
try:
    if not {"host", "path"} & parse_url(REDIS_URL).keys():
        raise ValueError
except ValueError:  # the URL may hold a password: it is not repeated
    raise ImproperlyConfigured("REDIS_URL must be redis://host:port/n, rediss://… or unix:///path.") from None
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chat.realtime.channel_layer.PubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "netra"},
    },
}

# ---- Django ----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "daphne",
    "chat.dashboard.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
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
    "chat.oidc",
    "agents",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "netra.static_files.StaticFiles",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "chat.oidc.views.bound_sessions",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "netra.urls"
ASGI_APPLICATION = "netra.asgi.application"
FORCE_SCRIPT_NAME = NETRA_BASE_PATH or None
APPEND_SLASH = False
LOGIN_REDIRECT_URL = "admin:index"  # for the admin's form, the only one of Django's that is used
# Bytes, fields and files of a form, so that parsing it stays cheap. chat/api/bodies.py limits the size of a body.
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS, DATA_UPLOAD_MAX_NUMBER_FILES = 1000, 10
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "chat" / "pages" / "templates"],
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
MEDIA_ROOT = NETRA_DATA_DIR  # of attachments, which only /api/attachments serves
STATIC_URL = f"{NETRA_BASE_PATH}/static/"
STATIC_ROOT = NETRA_DATA_DIR / "static"
STORAGES = {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
STORAGES["staticfiles"] = {"BACKEND": "netra.static_files.Scripts"}  # where collectstatic puts them
# Third-party scripts are installed by npm and served from node_modules.
STATICFILES_DIRS: list[Any] = [BASE_DIR / "chat" / "pages" / "static"]
STATICFILES_DIRS += [
    (f"vendor/{name}", BASE_DIR / "node_modules" / folder)
    for name, folder in (
        ("markdown-it", "markdown-it/dist/browser"),
        ("dompurify", "dompurify/dist"),
        ("d3-dsv", "d3-dsv/dist"),
        ("highlight.js", "@highlightjs/cdn-assets/es"),
        ("katex", "katex/dist"),
        ("chart.js", "chart.js/dist"),
        ("color", "@kurkle/color/dist"),
        ("geist", "@fontsource-variable/geist"),
        ("fraunces", "@fontsource-variable/fraunces"),
    )
]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_MAX_AGE = 60  # seconds: file names carry no hash, and a deployment must reach the browsers
SERVESTATIC_ALLOW_ALL_ORIGINS = False
USE_TZ, TIME_ZONE = True, "UTC"
LANGUAGE_CODE, LANGUAGES = "en", [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "chat" / "locale"]  # before those of apps, whose German is informal
LANGUAGE_COOKIE_NAME = "netra_language" + NETRA_BASE_PATH.replace("/", "~")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["chat.accounts.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated", "chat.api.permissions.WithinKey"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chat.api.exceptions.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Netra",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",  # whose schemas are JSON Schema, as pydantic writes it
    "SERVERS": [{"url": NETRA_BASE_PATH}] if NETRA_BASE_PATH else [],
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "chat.api.schema.add_mcp"],
    "SWAGGER_UI_DIST": "SIDECAR",  # from the package, not from a CDN
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
CSRF_FAILURE_VIEW = "chat.api.exceptions.csrf_failure"

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
# Probes ask for these over HTTP, past the proxy.
SECURE_REDIRECT_EXEMPT = [rf"^{re.escape(f'{NETRA_BASE_PATH}/'[1:])}(metrics|health|api/health)$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NETRA_HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if NETRA_HTTPS else 0  # a year
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = NETRA_HTTPS
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = LANGUAGE_COOKIE_PATH = f"{NETRA_BASE_PATH}/"
# A browser sends the cookies of a site at / to /netra too, so the names depend on the base path.
SESSION_COOKIE_NAME = "sessionid" + NETRA_BASE_PATH.replace("/", "~")
CSRF_COOKIE_NAME = "csrftoken" + NETRA_BASE_PATH.replace("/", "~")
MESSAGE_STORAGE = (
    "django.contrib.messages.storage.session.SessionStorage"  # its cookie storage has no setting for the path
)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
# HSTS for sub-domains, and preloading: both would bind the operator's whole domain.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

NETRA_LOG_FORMAT = text("NETRA_LOG_FORMAT", "text" if DEBUG else "json")
if NETRA_LOG_FORMAT not in ("json", "text"):
    raise ImproperlyConfigured(f"NETRA_LOG_FORMAT is {NETRA_LOG_FORMAT!r}; it must be json or text.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "netra.logging.formatter", "form": NETRA_LOG_FORMAT}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "django.server": {"level": "WARNING"},
        "axes": {"level": "ERROR"},  # chat/accounts/audit.py logs sign-ins
        "httpx": {"level": "WARNING"},  # at INFO it logs every URL, with the secrets in it
        "httpx2": {"level": "WARNING"},
        # At INFO it logs session ids, at ERROR the servers' messages; agents/toolbox/mcp logs without them.
        "mcp": {"level": "CRITICAL"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # it logs a traceback for each request of a scanner
    },
}
