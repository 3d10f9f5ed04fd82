"""What a process counts. Labels are names of our own code: no user, no client, nothing that a stranger can make up.

Where several processes serve together, each keeps its figures in a file of a shared folder (`shared_folder.py`), and
whoever is asked adds them up.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()

#: What is not one of the words that are counted.
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GRANTS = frozenset({"authorization_code", "refresh_token", "client_credentials"})
#: Of RFC 6749 4.1.2.1 and 5.2, RFC 6750 3.1, OpenID Connect Core 3.1.2.6, and our own.
OUTCOMES = frozenset(
    {
        "ok",
        "access_denied",
        "consent_required",
        "insufficient_scope",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_token",
        "login_required",
        "not_found",
        "redirect_uri_mismatch",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
    }
)

requests = Counter("countersign_requests", "Requests answered.", ["door", "method", "status"], registry=REGISTRY)
request_seconds = Histogram(
    "countersign_request_seconds",
    "Seconds until a request was answered.",
    ["door"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
oauth_requests = Counter(
    "countersign_oauth_requests",
    "OAuth requests: at which door, for which grant, with which outcome (ok, or the error's code).",
    ["door", "grant", "outcome"],
    registry=REGISTRY,
)
logins = Counter("countersign_logins", "Log-ins tried.", ["outcome"], registry=REGISTRY)
limit_refusals = Counter(
    "countersign_limit_refusals", "Requests refused because a limit was reached.", ["limit"], registry=REGISTRY
)
mails = Counter(
    "countersign_mails",
    "Mails that the worker tried to send (put_off: the recipient's mailbox does not take it now).",
    ["outcome"],
    registry=REGISTRY,
)
webhook_deliveries = Counter(
    "countersign_webhook_deliveries", "Tries of delivering a webhook.", ["outcome"], registry=REGISTRY
)
webhook_delivery_seconds = Histogram(
    "countersign_webhook_delivery_seconds",
    "Seconds that receivers of webhooks took.",
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
jobs = Counter("countersign_jobs", "Jobs of the queue that were run.", ["task", "outcome"], registry=REGISTRY)
pool_waits = Counter(
    "countersign_database_pool_waits", "Times that a connection of the pool was waited for.", registry=REGISTRY
)
pool_wait_seconds = Counter(
    "countersign_database_pool_wait_seconds", "Seconds that connections of the pool were waited for.", registry=REGISTRY
)
pool_failures = Counter(
    "countersign_database_pool_failures", "Times that the pool had no connection in time.", registry=REGISTRY
)

# From the start at 0: a first failure would not be seen as an increase.
for _outcome in ("ok", "refused", "second_factor_refused"):
    logins.labels(_outcome)
for _outcome in ("sent", "tried_again", "put_off", "given_up"):
    mails.labels(_outcome)
#: The webhook's keys are sealed with another deployment secret.
webhook_deliveries.labels("key_closed")


def one_of(word: str, words: frozenset[str]) -> str:
    """Return the word if it is a known one: what strangers send makes no labels."""
    return word if word in words else OTHER
