"""Reading the parameters of a request: strictly, and with an error that names what is wrong."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import parse_qsl

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from oauthlib.oauth2.rfc6749 import errors

from apps.organisations.text import is_storable

#: Bytes. The longest honest request (a code, a secret, a redirect URI, a verifier) has some 3 KB.
MAX_BODY_LENGTH = 64 * 1024
MAX_PARAMETERS = 50

Pairs = list[tuple[str, str]]


class UnsupportedMediaTypeError(errors.InvalidRequestError):
    """A body of another type than the three we read (CONTRACT section 4)."""

    status_code = 415


class BodyTooLongError(errors.InvalidRequestError):
    """A body that no client has reason to send."""

    status_code = 413


def printable(name: str) -> str:
    """Return a parameter's name in the characters that an error_description may have (RFC 6749 5.2)."""
    return re.sub(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]", "?", name[:50])


def read_parameters(request: HttpRequest, *, known: Iterable[str]) -> dict[str, str]:
    """Return the body's parameters of the names in `known`; others are ignored (RFC 6749 3.2).

    Reads form, multipart and JSON bodies. A parameter without a value counts as left out (RFC 6749 3.2).
    Raises oauthlib's InvalidRequestError for what cannot be read, naming the parameter where there is one.
    """
    pairs = _read_pairs(request)
    if len(pairs) > MAX_PARAMETERS:
        raise errors.InvalidRequestError(description="Too many parameters.")
    for name, value in pairs:
        if not is_storable(name) or not is_storable(value):
            raise errors.InvalidRequestError(description=f"Malformed value of parameter {printable(name)}.")
    if repeated := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        names = ", ".join(sorted(printable(name) for name in repeated))
        raise errors.InvalidRequestError(description=f"Repeated parameter: {names}.")
    wanted = set(known)
    return {name: value for name, value in pairs if name in wanted and value}


def read_query(request: HttpRequest, *, known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the query's parameters of the names in `known`, and the names that were repeated or malformed.

    A repeated parameter keeps its first value, a malformed one is left out: who reads `client_id` and
    `redirect_uri` decides whether the error may be sent back to the client.
    """
    wanted = set(known)
    values: dict[str, str] = {}
    bad: list[str] = []
    # A WSGI string holds bytes; the ones that should have been percent-encoded are taken for UTF-8.
    query = request.META.get("QUERY_STRING", "").encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        if name not in wanted:
            continue
        if name in values or not is_storable(value):
            bad.append(name)
        if is_storable(value):
            values.setdefault(name, value)
    return {name: value for name, value in values.items() if value}, sorted(set(bad))


def _read_pairs(request: HttpRequest) -> Pairs:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal():
        raise errors.InvalidRequestError(description="Content-Length is not a number.")
    if int(length) > MAX_BODY_LENGTH:
        raise BodyTooLongError(description=f"The body is longer than {MAX_BODY_LENGTH} bytes.")
    readers = {
        "application/x-www-form-urlencoded": _read_form,
        "multipart/form-data": _read_multipart,
        "application/json": _read_json,
    }
    reader = readers.get((request.content_type or "").lower())
    if reader is None:
        raise UnsupportedMediaTypeError(
            description="Send application/x-www-form-urlencoded, multipart/form-data or application/json."
        )
    try:
        return reader(request)
    except RequestDataTooBig as error:
        raise BodyTooLongError(description="The body is too long.") from error


def _read_form(request: HttpRequest) -> Pairs:
    try:
        return parse_qsl(
            request.body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise errors.InvalidRequestError(description="The body is not form-urlencoded UTF-8.") from error


def _read_multipart(request: HttpRequest) -> Pairs:
    try:
        fields, files = request.POST, request.FILES
    # LookupError: a charset that is none for text.
    except (MultiPartParserError, SuspiciousOperation, LookupError, ValueError) as error:
        raise errors.InvalidRequestError(description="The body is not multipart/form-data.") from error
    if files:
        raise errors.InvalidRequestError(description=f"Parameter {printable(next(iter(files)))} is a file.")
    return [(name, str(value)) for name, values in fields.lists() for value in values]


def _read_json(request: HttpRequest) -> Pairs:
    try:
        document = json.loads(request.body.decode("utf-8"), object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequestError(description="The body is not JSON.") from error
    # With the hook above an object is a list of pairs; an array holds no tuples.
    if not isinstance(document, list) or not all(isinstance(pair, tuple) for pair in document):
        raise errors.InvalidRequestError(description="The JSON body must be an object.")
    for name, value in document:
        if not isinstance(value, str):
            raise errors.InvalidRequestError(description=f"Parameter {printable(name)} must be a string.")
    return document
