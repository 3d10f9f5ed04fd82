"""Fill one side's database; prints what the driver needs as JSON.

python -m bench.prepare countersign|stock NUMBER_OF_CODES
"""

import json
import os
import sys
from datetime import timedelta
from typing import Any

CALLBACK = "https://partner.example/callback"
LIFETIME = timedelta(hours=2)


def main() -> None:
    side, count = sys.argv[1], int(sys.argv[2])
    settings = {"countersign": "config.settings", "stock": "bench.stock.settings"}[side]
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    fill = {"countersign": fill_countersign, "stock": fill_stock}[side]
    print(json.dumps(fill(count)))


def fill_countersign(count: int) -> dict[str, Any]:
    from django.utils import timezone

    from apps.accounts.services import create_user
    from apps.connections.models import Connection
    from apps.developers.services.applications import create_application
    from apps.organisations.services import create_organisation
    from apps.tokens import keys
    from apps.tokens.issuance import hash_token
    from apps.tokens.models import Grant

    keys.ensure_signing_keys()
    organisation = create_organisation(slug="bench", name="Bench", domain="bench.example")
    user = create_user(email="ada@example.com", password="a long enough password 7", first_name="Ada", last_name="B")
    clients = {}
    for profile, scopes in {"portal": ["person.full_name"], "customer": []}.items():
        application, secret = create_application(
            name=f"Bench {profile}",
            profile=profile,
            organisation=organisation,
            redirect_uris=[CALLBACK],
            scopes=scopes,
            is_approved=True,
        )
        connection = Connection.objects.create(user=user, application=application, scopes=scopes)
        codes = [f"{profile}-{number}" for number in range(count)]
        Grant.objects.bulk_create(
            Grant(
                code=hash_token(code),
                application=application,
                user=user,
                connection=connection,
                expires=timezone.now() + LIFETIME,
                redirect_uri=CALLBACK,
                scope=" ".join(scopes),
            )
            for code in codes
        )
        clients[profile] = {"client_id": application.client_id, "client_secret": secret, "codes": codes}
    return clients


def fill_stock(count: int) -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.utils import timezone
    from oauth2_provider.models import Application, Grant

    user = User.objects.create_user("ada", "ada@example.com", "a long enough password 7", first_name="Ada")
    secret = "s" * 128
    application = Application.objects.create(
        name="Bench",
        client_type="confidential",
        authorization_grant_type="authorization-code",
        redirect_uris=CALLBACK,
        client_secret=secret,
    )
    codes = [f"stock-{number}" for number in range(2 * count)]
    Grant.objects.bulk_create(
        Grant(
            code=code,
            application=application,
            user=user,
            expires=timezone.now() + LIFETIME,
            redirect_uri=CALLBACK,
            scope="read introspection",
        )
        for code in codes
    )
    client = {"client_id": application.client_id, "client_secret": secret}
    return {"portal": {**client, "codes": codes[:count]}, "customer": {**client, "codes": codes[count:]}}


if __name__ == "__main__":
    main()
