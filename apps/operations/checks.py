from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from apps.operations.production import find_refusals
from config.reading import Environment


@register(Tags.security, deploy=True)
def fit_for_production(**kwargs: Any) -> list[CheckMessage]:
    """Refuse to deploy what the server would refuse to start with (`production.py`)."""
    environment = Environment()
    messages: list[CheckMessage] = [
        Error(f"{problem.variable} {problem.what}", hint=problem.advice, id="countersign.E003")
        for problem in find_refusals(environment)
    ]
    if environment("ENVIRONMENT") == "development":
        hint = "Set ENVIRONMENT=production, or remove it."
        messages.append(
            Error("ENVIRONMENT is development: an unsafe start is not refused.", hint=hint, id="countersign.E004")
        )
    return messages
