"""A passkey in software: what a browser and its authenticator send (WebAuthn, level 2)."""

import hashlib
import json
import secrets

from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.http import HttpResponse
from django.test import Client
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from apps.accounts.models import User

_HOST = "testserver"
_FLAG = AuthenticatorData.FLAG


class Passkey:
    """A passkey of the user's for the test's site."""

    def __init__(self, user: User) -> None:
        self._user, self._id = user, secrets.token_bytes(16)
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = AttestedCredentialData.create(bytes(16), self._id, ES256.from_cryptography_key(self._key.public_key()))
        attestation = AttestationObject.create("none", self._data(_FLAG.AT, public), {})
        created = CollectedClientData.create("webauthn.create", secrets.token_bytes(32), f"https://{_HOST}")
        credential = self._credential({"clientDataJSON": created, "attestationObject": attestation})
        data = {"name": "Passkey", "passwordless": True, "credential": credential}
        Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=data)

    def log_in(self, client: Client) -> HttpResponse:
        """Press "Sign in with a passkey"."""
        address = "/account/2fa/webauthn/login/"
        options = client.get(address, headers={"X-Requested-With": "XMLHttpRequest"}).json()["request_options"]
        challenge = websafe_decode(options["publicKey"]["challenge"])
        asked = CollectedClientData.create("webauthn.get", challenge, f"https://{_HOST}")
        data = self._data(_FLAG(0))
        parts = {
            "clientDataJSON": asked,
            "authenticatorData": data,
            "signature": self._key.sign(data + asked.hash, ec.ECDSA(SHA256())),
            "userHandle": user_pk_to_url_str(self._user).encode(),
        }
        return client.post(address, {"credential": json.dumps(self._credential(parts))})

    def _data(self, flags: AuthenticatorData.FLAG, public: AttestedCredentialData | None = None) -> AuthenticatorData:
        host = hashlib.sha256(_HOST.encode()).digest()
        return AuthenticatorData.create(host, _FLAG.UP | _FLAG.UV | flags, 0, public or b"")

    def _credential(self, parts: dict[str, bytes]) -> dict[str, object]:
        text = websafe_encode(self._id)
        response = {name: websafe_encode(part) for name, part in parts.items()}
        return {"id": text, "rawId": text, "type": "public-key", "response": response, "clientExtensionResults": {}}
