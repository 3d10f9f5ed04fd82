"""Django's settings. Values of the environment are declared in `config/environment.py`, and asked for here only.

A production secret has no default: without `SECRET_KEY` and `DATABASE_URL` nothing starts.
`script/server` sets both for a first look.
"""

from pathlib import Path

from django.utils.translation import gettext_lazy as _

from apps.operations.postgresql.connections import Connection
from config.environment import VARIABLES
from config.oauth import OAUTH2_PROVIDER as OAUTH2_PROVIDER
from config.reading import Environment

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env("VAR_DIR"))

# The deployment secret: sessions, and by HKDF the keys that protect signing keys at rest.
SECRET_KEY: str = env("SECRET_KEY")
# Earlier ones, which are still read (apps/sealing, and Django's own signatures).
SECRET_KEY_FALLBACKS: list[str] = env("SECRET_KEY_FALLBACKS")
# production, or development: what `config/environment.py` says of it.
ENVIRONMENT: str = env("ENVIRONMENT")
DEBUG = env("DEBUG")
# Demo data, the demo partner at /demo/ and its known passwords. Never in production.
DEMO_MODE = env("DEMO_MODE")
# Plain http, for a first look on one's own machine.
INSECURE_HTTP = env("INSECURE_HTTP")
ALLOWED_HOSTS = env("ALLOWED_HOSTS")
HOST = env("HOST")
PORT = env("PORT")
WEB_PROCESSES = env("WEB_PROCESSES")
WEB_THREADS = env("WEB_THREADS")

INSTALLED_APPS = [
    "apps.demo",
    "apps.operations",
    "apps.console",
    "apps.members",
    "apps.consent",
    "apps.tokens",
    "apps.webhooks",
    "apps.connections",
    "apps.activity",
    "apps.developers",
    "apps.accounts",
    "apps.organisations",
    "apps.audit",
    "apps.housekeeping",
    "apps.limits",
    "apps.telemetry",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "oauth2_provider",
    "procrastinate.contrib.django",
    "rest_framework",
]

# None of these touches the session or the database by itself: the session, the user and the
# organisation are looked up when a view first asks for them, which the partners' endpoints never do.
MIDDLEWARE = [
    # Before everything that asks for the host's name: probes call by address.
    "apps.operations.middleware.ProbeMiddleware",
    "apps.telemetry.middleware.TelemetryMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "apps.operations.static_files.StaticFilesMiddleware",
    "apps.audit.middleware.AuditContextMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.organisations.middleware.OrganisationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.accounts.guard.AccountLimitMiddleware",
    "apps.accounts.middleware.ClosedAccountMiddleware",
    "apps.consent.middleware.FinalRedirectMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# A POST is never redirected (CONTRACT section 1); doors with and without a slash are both named.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.organisations.context_processors.organisation",
                "apps.consent.context_processors.pending_authorization",
            ],
        },
    }
]

_database = env.database("DATABASE_URL")
# Connections are kept in a pool per process: opening one costs more than a token request.
# Nobody waits long for a database that is away: two seconds for a connection, and none until it is tried again.
_pool = {
    "min_size": 1,
    "max_size": env("DATABASE_POOL_SIZE"),
    "timeout": 2,
    "reconnect_timeout": 0,
    "connection_class": Connection,
}
# Seconds to connect to a host; the kernel gives up a host that has not acknowledged for so many milliseconds.
_patience: dict[str, int | str] = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
}
if "," in _database["HOST"]:
    # Of the hosts of a cluster, only the one that takes what is written is any use.
    _patience["target_session_attrs"] = "read-write"
# Statements that come again are planned once per connection, which halves the time of reading a token. Off
# behind a pooler that hands a connection to another client after each transaction.
_prepared = {"server_side_binding": True, "prepare_threshold": 2} if env("DATABASE_PREPARE") else {}
DATABASES = {
    "default": {
        **_database,
        # It checks each connection before a request gets it, so the pool need not.
        "ENGINE": "apps.operations.postgresql",
        # A cursor lives on one connection, which such a pooler does not keep for us.
        "DISABLE_SERVER_SIDE_CURSORS": not env("DATABASE_PREPARE"),
        "OPTIONS": {**_patience, **_database.get("OPTIONS", {}), "pool": _pool, **_prepared},
    }
}
# What config/wsgi.py sets for the web server's connections, in seconds.
DATABASE_STATEMENT_SECONDS: int = env("DATABASE_STATEMENT_SECONDS") if env("DATABASE_PREPARE") else 0
# One cache for all processes: which codes of a second factor have been used. It stays in the database when limits are
# counted in a Valkey, which may forget.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "shared_cache"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people -----------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "apps.accounts.hashers.PasswordHasher",
    # For client secrets only (OAUTH2_PROVIDER["CLIENT_SECRET_HASHER"]). Django must know it, or the
    # stored hash itself would be taken for a secret; a system check guards that.
    "apps.developers.hashers.ClientSecretHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "apps.accounts.forms.SignupForm"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# Only in the browser that signed up: it goes on to where the user was going, e.g. a consent screen.
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
# Seconds for which the link for a forgotten password is good, and what else ends it.
PASSWORD_RESET_TIMEOUT = 86_400
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "apps.accounts.reset_links.ResetLinkGenerator"
# Tell people by mail when their password, e-mail address or second factor has changed.
ACCOUNT_EMAIL_NOTIFICATIONS = True
# Our own limits stand before allauth's views (docs/decisions/0019-rate-limits.md).
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False
ACCOUNT_FORMS = {
    "signup": "apps.accounts.limited_forms.LimitedSignupForm",
    "reset_password": "apps.accounts.limited_forms.LimitedResetPasswordForm",
    "change_password": "apps.accounts.limited_forms.LimitedChangePasswordForm",
}
MFA_FORMS = {
    "authenticate": "apps.accounts.limited_forms.LimitedAuthenticateForm",
    "reauthenticate": "apps.accounts.limited_forms.LimitedReauthenticateForm",
}
# How many reverse proxies of the host's own stand in front: limits by address count whom the last of them names.
ALLAUTH_TRUSTED_PROXY_COUNT = env("TRUSTED_PROXIES")
MFA_ADAPTER = "apps.accounts.second_factors.SealingMFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = INSECURE_HTTP
MFA_TOTP_ISSUER = "Countersign"

# --- OAuth ------------------------------------------------------------------------------------

OAUTH2_PROVIDER_APPLICATION_MODEL = "developers.Application"
OAUTH2_PROVIDER_GRANT_MODEL = "tokens.Grant"
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "oauth2_provider.AccessToken"
OAUTH2_PROVIDER_ID_TOKEN_MODEL = "oauth2_provider.IDToken"
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "oauth2_provider.RefreshToken"

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.tokens.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "UNAUTHENTICATED_USER": None,
    # The answer is JSON, whatever a client's defaults say that it accepts.
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.members.negotiation.JSONOnly",
    "URL_FORMAT_OVERRIDE": None,
}

# --- limits ---------------------------------------------------------------------------------------

# A development start sends a lot of log-ins from one address.
RATE_LIMITS: bool = not DEMO_MODE if env("RATE_LIMITS") is None else env("RATE_LIMITS")
# By rule (apps/limits/rules.py), as the environment spells them.
RATE_LIMIT_RATES: dict[str, str] = {
    name.removeprefix("RATE_LIMIT_").lower(): env(name) for name in VARIABLES if name.startswith("RATE_LIMIT_")
}
# Where they are counted; empty: in the database.
CACHE_URL: str = env("CACHE_URL")
# Remembers in which browsers somebody has logged in to which account (apps/accounts/known_browsers.py).
KNOWN_BROWSER_COOKIE_NAME = "countersign_browser" if INSECURE_HTTP else "__Host-countersign_browser"

# Seconds until what applications did is counted in the database. 0: only when told (`activity.recorder.flush`).
ACTIVITY_FLUSH_SECONDS = env("ACTIVITY_FLUSH_SECONDS")

# --- the audit trail ------------------------------------------------------------------------------

# Days that events are kept; 0: for ever.
AUDIT_RETENTION_DAYS = env("AUDIT_RETENTION_DAYS")
# Days after somebody has closed their account until the trail forgets who they were.
AUDIT_ANONYMISE_AFTER_DAYS = env("AUDIT_ANONYMISE_AFTER_DAYS")
# Whether the log line of each event has the client's IP address; the table has it anyway.
AUDIT_LOG_ADDRESSES = env("AUDIT_LOG_ADDRESSES")

# --- backups --------------------------------------------------------------------------------------

# Read by `manage.py backup` and `restore` only.
BACKUP_RECIPIENTS: list[str] = env("BACKUP_RECIPIENTS")
BACKUP_IDENTITY: str = env("BACKUP_IDENTITY")

# --- what browsers may do ------------------------------------------------------------------------

SESSION_ENGINE = "apps.accounts.sessions"
SESSION_COOKIE_NAME = "countersign_session" if INSECURE_HTTP else "__Host-countersign_session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not INSECURE_HTTP
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "countersign_csrf" if INSECURE_HTTP else "__Host-countersign_csrf"
CSRF_COOKIE_HTTPONLY = True
# The reverse proxy redirects to https: a partner's POST must never be redirected by us (CONTRACT section 1).
SECURE_SSL_REDIRECT = False
# W005, W021: https for all names below ours is the host's decision, and a domain that says "preload" can be entered
# into browsers' lists by anybody; it would take all services below it along, for years.
SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W005", "security.W021"]
SECURE_PROXY_SSL_HEADER = None if INSECURE_HTTP else ("HTTP_X_FORWARDED_PROTO", "https")
# A browser remembers it of localhost at every port, and would ask a developer's other servers there by https for years.
_no_hsts = INSECURE_HTTP or (env.is_for_this_machine_only() and not env.is_set("HSTS_SECONDS"))
SECURE_HSTS_SECONDS = 0 if _no_hsts else env("HSTS_SECONDS")
SECURE_HSTS_INCLUDE_SUBDOMAINS = env("HSTS_SUBDOMAINS")
SECURE_HSTS_PRELOAD = False
# Our own pages may see where a form came from (Django checks it); nobody else learns our URLs.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

# --- the rest -----------------------------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
LANGUAGES = [("en-gb", _("English"))]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env("STATIC_ROOT") or VAR_DIR / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
# Nothing asks for them by their plain names.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
MEDIA_URL = "/media/"
MEDIA_ROOT = VAR_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# Pictures are small; what is bigger than any form takes is neither kept in memory nor written to a temporary file.
FILE_UPLOAD_HANDLERS = ["apps.organisations.uploads.BoundedUploadHandler"]

vars().update(env.mail("EMAIL_URL"))
# Seconds; a mail server that does not answer must not hold up the worker.
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL")

# --- signs of life --------------------------------------------------------------------------------

# Who may read the metrics; empty: nobody. The worker has a port of its own for its figures.
METRICS_TOKEN: str = env("METRICS_TOKEN")
METRICS_PORT: int = env("METRICS_PORT")
METRICS_DIR: str = env("METRICS_DIR")
# Where traces go; empty: nothing of OpenTelemetry is even imported.
TRACES_ENDPOINT: str = env("OTEL_EXPORTER_OTLP_ENDPOINT")
TRACES_SERVICE_NAME: str = env("OTEL_SERVICE_NAME")
LOG_FORMAT: str = env("LOG_FORMAT") or ("line" if ENVIRONMENT == "development" else "json")
ACCESS_LOG: bool = ENVIRONMENT != "development" if env("ACCESS_LOG") is None else env("ACCESS_LOG")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"work": {"()": "apps.telemetry.logs.WorkFilter"}, "paths": {"()": "apps.telemetry.logs.PathFilter"}},
    "formatters": {
        "line": {
            "()": "apps.telemetry.logs.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "shows_messages": DEBUG,
        },
        "json": {"()": "apps.telemetry.logs.JsonFormatter"},
        "bare": {"format": "%(message)s"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["work", "paths"],
            # Of the loggers below that have a level of their own, too.
            "level": env("LOG_LEVEL").upper(),
        },
        "audit": {"class": "logging.StreamHandler", "formatter": "bare"},
    },
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL").upper()},
    "loggers": {
        # A refused request is the client's business; the access log has its status.
        "django.request": {"level": "ERROR"},
        "countersign.access": {"level": "INFO" if ACCESS_LOG else "WARNING"},
        "procrastinate": {"level": "WARNING"},
        # Its line of each request has the whole URL, and a webhook's may have a secret in it.
        "httpx": {"level": "WARNING"},
        # One JSON object per line, whatever the level of the others.
        "countersign.audit": {"handlers": ["audit"], "propagate": False, "level": "INFO"},
        # oauthlib's debug lines contain whole requests, secrets included.
        "oauthlib": {"level": "INFO", "propagate": True},
        # So do these libraries' of the addresses and the bodies that they send.
        "urllib3": {"level": "WARNING"},
        "opentelemetry": {"level": "ERROR"},
        # The web server's own; it sets up its logging before us.
        "_granian": {"handlers": ["console"], "propagate": False},
    },
}

# Each job of the queue has an id in the log, a figure and a span.
PROCRASTINATE_ON_APP_READY = "apps.telemetry.jobs.observe_jobs"
