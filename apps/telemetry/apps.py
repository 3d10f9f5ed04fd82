from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    name = "apps.telemetry"

    def ready(self) -> None:
        from apps.telemetry import listeners

        listeners.connect()
