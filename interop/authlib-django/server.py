#!/usr/bin/env python3
"""An authorization server of Authlib's on Django, for the tests of the gateway.

Everything that speaks OAuth 2.0 here is Authlib: the AuthorizationServer and
the revocation endpoint of authlib.integrations.django_oauth2, the grants, and
the introspection endpoint. The models, and what else Authlib leaves to the
developer, are those of its documentation. The database is in memory.

The first line on stdout is the URL of the server, which listens on a free port
of 127.0.0.1.

POST /test/expire is for tests alone. It lets the lifetime of an access token
be over, which the form's "token" names.

Needs the Debian packages python3-authlib and python3-django.
"""

import os
import secrets
import time
from wsgiref.simple_server import make_server

import django
from django.conf import settings

# Authlib serves https, or http under the name localhost. This one is reached
# over loopback only.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    AUTHLIB_OAUTH2_PROVIDER={
        "refresh_token_generator": True,
        "scopes_supported": ["orders:read", "orders:write"],
    },
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # the fastest
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret",
)
django.setup()

from authlib.integrations.django_oauth2 import AuthorizationServer, RevocationEndpoint  # noqa: E402
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin  # noqa: E402
from authlib.oauth2.rfc6749.grants import (  # noqa: E402
    ClientCredentialsGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc7662 import IntrospectionEndpoint  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

ISSUER = "https://authlib.example.com/"


class OAuth2Client(models.Model, ClientMixin):
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE)
    client_id = models.CharField(max_length=48, unique=True)
    client_secret = models.CharField(max_length=48)
    scope = models.TextField(default="")
    grant_type = models.TextField(default="")

    class Meta:
        app_label = "server"

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        allowed = self.scope.split()
        return " ".join(s for s in (scope or "").split() if s in allowed)

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type):
        return grant_type in self.grant_type.split()


class OAuth2Token(models.Model, TokenMixin):
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE)
    client_id = models.CharField(max_length=48, db_index=True)
    token_type = models.CharField(max_length=40)
    access_token = models.CharField(max_length=255, unique=True)
    refresh_token = models.CharField(max_length=255, null=True, db_index=True)
    scope = models.TextField(default="")
    revoked = models.BooleanField(default=False)
    issued_at = models.IntegerField(default=lambda: int(time.time()))
    expires_in = models.IntegerField(default=0)

    class Meta:
        app_label = "server"

    def check_client(self, client):
        return self.client_id == client.client_id

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.expires_in

    def get_expires_at(self):
        return self.issued_at + self.expires_in

    def is_expired(self):
        return self.get_expires_at() < time.time()

    def is_revoked(self):
        return self.revoked


class Introspection(IntrospectionEndpoint):
    def query_token(self, token_string, token_type_hint):
        """Looks where the hint says, and everywhere without one, as the documentation does."""
        found = models.Q(pk=None)
        if token_type_hint in (None, "access_token"):
            found |= models.Q(access_token=token_string)
        if token_type_hint in (None, "refresh_token"):
            found |= models.Q(refresh_token=token_string)
        return OAuth2Token.objects.filter(found).first()

    def check_permission(self, token, client, request):
        return client.client_id.startswith("gateway")

    def introspect_token(self, token):
        return {
            "active": True,
            "client_id": token.client_id,
            "token_type": token.token_type,
            "username": token.user and token.user.get_username(),
            "scope": token.get_scope(),
            "sub": token.user and str(token.user.pk),
            "aud": token.client_id,
            "iss": ISSUER,
            "exp": token.get_expires_at(),
            "iat": token.issued_at,
        }


class Password(ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

    def authenticate_user(self, username, password):
        user = User.objects.filter(username=username).first()
        return user if user and user.check_password(password) else None


class ClientCredentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]


server = AuthorizationServer(OAuth2Client, OAuth2Token)
server.register_grant(Password)
server.register_grant(ClientCredentials)
server.register_endpoint(Introspection)
server.register_endpoint(RevocationEndpoint)


def endpoint(name):
    return lambda request: server.create_endpoint_response(name, request)


def expire(request):
    token = models.Q(access_token=request.POST["token"])
    OAuth2Token.objects.filter(token).update(issued_at=models.F("issued_at") - models.F("expires_in") - 3600)
    return HttpResponse(status=204)


urlpatterns = [
    path("oauth/token", server.create_token_response),
    path("oauth/introspect", endpoint(Introspection.ENDPOINT_NAME)),
    path("oauth/revoke", endpoint(RevocationEndpoint.ENDPOINT_NAME)),
    path("test/expire", expire),
]


def fill_tables():
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(OAuth2Client)
        editor.create_model(OAuth2Token)
    User.objects.create_user("jane", password="jane-password")
    for client_id, client_secret, grant_type in (
        # The gateway, which may ask about any token. Authlib takes Basic
        # credentials as they are typed and does not form-decode them.
        ("gateway", "gateway-secret", ""),
        ("gateway-2", "p@ss w+rd/é%:& ", ""),
        ("orders-app", "orders-app-secret", "password"),
        ("orders-job", "orders-job-secret", "client_credentials"),
    ):
        OAuth2Client.objects.create(
            client_id=client_id,
            client_secret=client_secret,
            scope="orders:read orders:write",
            grant_type=grant_type,
        )


def main():
    fill_tables()
    with make_server("127.0.0.1", 0, get_wsgi_application()) as http:
        print(f"http://127.0.0.1:{http.server_port}", flush=True)
        http.serve_forever()


if __name__ == "__main__":
    main()
