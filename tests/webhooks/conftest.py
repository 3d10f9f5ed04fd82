"""The nouns and verbs of webhooks: receivers, endpoints, and the worker."""

import time
from contextlib import ExitStack

import pytest
from django.db.models import Q
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.webhooks.services import set_endpoint
from tests.conftest import run_worker
from tests.webhooks.receivers import receiving, respond


@pytest.fixture
def receive():
    """Start a partner's server; `receive(behaviour)` says how it answers."""
    with ExitStack() as stack:
        yield lambda answer=None, **options: stack.enter_context(receiving(answer or respond(), **options))


@pytest.fixture
def listen(receive):
    """Let an application be told at a server of its own; returns that server and the keys."""

    def call(application, answer=None):
        receiver = receive(answer)
        receiver.keys = set_endpoint(application=application.row, actor=None, url=receiver.url)
        return receiver

    return call


@pytest.fixture
def empty_queue(db):
    """Django does not empty tables that are not its own."""
    ProcrastinateJob.objects.all().delete()


@pytest.fixture
def work(empty_queue):
    """Run the worker until nothing is left to do now; returns how many seconds that took."""

    def call(*, concurrency=50):
        start = time.monotonic()
        now = Q(scheduled_at__isnull=True) | Q(scheduled_at__lte=timezone.now())
        while ProcrastinateJob.objects.filter(now, queue_name="webhooks", status="todo").exists():
            run_worker(queues=["webhooks"], concurrency=concurrency)
        return time.monotonic() - start

    return call
