#!/usr/bin/env python3
"""An authorization server of Authlib's, for the tests of the gateway.

Everything that speaks OAuth 2.0 here is Authlib: the client authentication, the
client credentials grant, and the introspection and revocation endpoints. What
Authlib leaves to the developer is filled in as its documentation does it: the
answer of introspect_token() is the dictionary of the documentation, and tokens
expire as those of authlib.integrations.sqla_oauth2 do. Storage is a list.

The first line on stdout is the URL of the server, which listens on a free port
of 127.0.0.1.

POST /test/token is for tests alone. It stores a token with the fields of its
JSON body, which are those of Token, and so stands in for what a user would have
granted, an hour ago if need be.

Needs the Debian packages python3-authlib and python3-flask.
"""

import os
import secrets
import sys
import time
from dataclasses import dataclass, field

# Authlib serves https, or http under the name localhost. This one is reached
# over loopback only.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer  # noqa: E402
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin  # noqa: E402
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant  # noqa: E402
from authlib.oauth2.rfc7009 import RevocationEndpoint  # noqa: E402
from authlib.oauth2.rfc7662 import IntrospectionEndpoint  # noqa: E402
from flask import Flask, request  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

ISSUER = "https://authlib.example.com/"


@dataclass
class Client(ClientMixin):
    client_id: str
    client_secret: str
    scope: str = ""
    grant_types: tuple = ()

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
        return grant_type in self.grant_types


@dataclass
class Token(TokenMixin):
    client_id: str
    access_token: str
    refresh_token: str = None
    token_type: str = "Bearer"
    scope: str = ""
    username: str = None
    sub: str = None
    issued_at: int = field(default_factory=lambda: int(time.time()))
    expires_in: int = 0
    revoked: bool = False

    def check_client(self, client):
        return self.client_id == client.client_id

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.expires_in

    def get_expires_at(self):
        # As in authlib.integrations.sqla_oauth2: a token without a lifetime
        # never expires, and yet its "exp" is the second of its birth.
        return self.issued_at + self.expires_in

    def is_expired(self):
        return bool(self.expires_in) and self.get_expires_at() < time.time()

    def is_revoked(self):
        return self.revoked


CLIENTS = {
    client.client_id: client
    for client in (
        # The gateway, which may ask about any token. Authlib takes Basic
        # credentials as they are typed and does not form-decode them.
        Client("gateway", "gateway-secret_0.1~authlib"),
        Client("gateway-2", "p@ss w+rd/é%:& "),
        Client("orders-app", "orders-app-secret", "orders:read orders:write", ("client_credentials",)),
    )
}
TOKENS = []


def save_token(token, oauth_request):
    TOKENS.append(Token(client_id=oauth_request.client.client_id, **token))


def find_token(value, hint):
    """Looks where the hint says, and everywhere without one, as the documentation does."""
    for token in TOKENS:
        if hint in (None, "access_token") and token.access_token == value:
            return token
        if hint in (None, "refresh_token") and token.refresh_token == value:
            return token
    return None


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = ["client_secret_basic"]

    def query_token(self, token_string, token_type_hint):
        return find_token(token_string, token_type_hint)

    def check_permission(self, token, client, request):
        return client.client_id.startswith("gateway")

    def introspect_token(self, token):
        return {
            "active": True,
            "client_id": token.client_id,
            "token_type": token.token_type,
            "username": token.username,
            "scope": token.get_scope(),
            "sub": token.sub,
            "aud": token.client_id,
            "iss": ISSUER,
            "exp": token.get_expires_at(),
            "iat": token.issued_at,
        }


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = ["client_secret_basic"]

    def query_token(self, token_string, token_type_hint):
        return find_token(token_string, token_type_hint)

    def revoke_token(self, token, request):
        token.revoked = True


class ClientCredentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]


app = Flask(__name__)
server = AuthorizationServer(app, query_client=CLIENTS.get, save_token=save_token)
server.register_grant(ClientCredentials)
server.register_endpoint(Introspection)
server.register_endpoint(Revocation)


@app.post("/oauth/token")
def issue_token():
    return server.create_token_response()


@app.post("/oauth/introspect")
def introspect_token():
    return server.create_endpoint_response(Introspection.ENDPOINT_NAME)


@app.post("/oauth/revoke")
def revoke_token():
    return server.create_endpoint_response(Revocation.ENDPOINT_NAME)


@app.post("/test/token")
def store_token():
    TOKENS.append(Token(**request.get_json()))
    return "", 201


def main():
    http = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"http://127.0.0.1:{http.server_port}", flush=True)
    http.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
