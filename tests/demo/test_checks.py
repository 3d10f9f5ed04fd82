"""What must not be deployed."""

import pytest

from apps.demo.checks import not_a_demo


@pytest.mark.parametrize(("demo_mode", "insecure_http"), [(True, False), (False, True), (True, True)])
def test_a_first_look_cannot_be_deployed(settings, demo_mode, insecure_http):
    settings.DEMO_MODE, settings.INSECURE_HTTP = demo_mode, insecure_http

    found = {message.id for message in not_a_demo()}

    assert found == ({"countersign.E003"} if demo_mode else set()) | ({"countersign.E004"} if insecure_http else set())


def test_production_may_be_deployed(settings):
    settings.DEMO_MODE = settings.INSECURE_HTTP = False

    assert not_a_demo() == []
