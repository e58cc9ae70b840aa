#!/usr/bin/env python3
"""An authorization server of oauthlib's own endpoints, for the tests of the gateway.

The token, introspection and revocation endpoints here are oauthlib's Server.
What oauthlib leaves to the developer is its RequestValidator: which client it
is that asks, and what is stored. Basic credentials are taken as they are typed,
which is what most validators do, and storage is a dictionary.

The claims of a token are the developer's as well, and so is it to look whether
it has expired, which the last three of these forget:

	/introspect          the claims are as RFC 7662 has them
	/introspect/late     the same
	/introspect/floats   "exp" and "iat" have fractions, as time.time() has
	/introspect/lists    "scope" and "aud" are arrays, "exp" is a string of
	                     digits, "sub" is a number, and "active" is a word, in
	                     whose place oauthlib writes true

The first line on stdout is the URL of the server, which listens on a free port
of 127.0.0.1.

POST /test/expire is for tests alone. It lets the lifetime of an access token
be over, which the form's "token" names.

Needs the Debian package python3-oauthlib.
"""

import base64
import os
import secrets
import time
from dataclasses import dataclass
from urllib.parse import parse_qs
from wsgiref.simple_server import make_server

# oauthlib serves https, or http if it is told to. This one is reached over
# loopback only.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from oauthlib.oauth2 import RequestValidator, Server  # noqa: E402

ISSUER = "https://oauthlib.example.com/"


@dataclass
class Client:
    client_id: str
    client_secret: str
    grants: tuple = ()


@dataclass
class Token:
    client_id: str
    username: str
    scopes: list
    issued_at: float
    expires_at: float
    refresh_token: str = None


CLIENTS = {
    client.client_id: client
    for client in (
        # The gateway, which may ask about any token.
        Client("gateway", "gateway-secret"),
        Client("gateway-2", "p@ss w+rd/é%:& "),
        Client("orders-app", "orders-app-secret", ("password",)),
        Client("orders-job", "orders-job-secret", ("client_credentials",)),
    )
}
USERS = {"jane": "jane-password"}
SCOPES = {"orders:read", "orders:write"}
TOKENS = {}


def basic_credentials(request):
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return "", ""
    client_id, _, client_secret = base64.b64decode(credentials).decode().partition(":")
    return client_id, client_secret


class Validator(RequestValidator):
    def authenticate_client(self, request):
        client_id, client_secret = basic_credentials(request)
        client = CLIENTS.get(client_id)
        if client is None or not secrets.compare_digest(client.client_secret.encode(), client_secret.encode()):
            return False
        request.client = client
        return True

    def validate_grant_type(self, client_id, grant_type, client, request):
        return grant_type in client.grants

    def validate_user(self, username, password, client, request):
        request.user = username
        return secrets.compare_digest(USERS.get(username, "").encode(), password.encode())

    def get_default_scopes(self, client_id, request):
        return []

    def validate_scopes(self, client_id, scopes, client, request):
        return SCOPES.issuperset(scopes)

    def save_bearer_token(self, token, request):
        now = time.time()
        TOKENS[token["access_token"]] = Token(
            client_id=request.client.client_id,
            username=request.user,
            scopes=request.scopes,
            issued_at=now,
            expires_at=now + token["expires_in"],
            refresh_token=token.get("refresh_token"),
        )

    def introspect_token(self, token, token_type_hint, request):
        stored = TOKENS.get(token)
        if stored is None or stored.expires_at < time.time():
            return None
        return self.claims(stored)

    def claims(self, token):
        return {
            "scope": " ".join(token.scopes),
            "client_id": token.client_id,
            "username": token.username,
            "token_type": "Bearer",
            "exp": int(token.expires_at),
            "iat": int(token.issued_at),
            "sub": token.username,
            "aud": token.client_id,
            "iss": ISSUER,
        }

    def revoke_token(self, token, token_type_hint, request):
        for access_token, stored in list(TOKENS.items()):
            if token in (access_token, stored.refresh_token) and stored.client_id == request.client.client_id:
                del TOKENS[access_token]


class Late(Validator):
    def introspect_token(self, token, token_type_hint, request):
        stored = TOKENS.get(token)
        return stored and self.claims(stored)


class Floats(Late):
    def claims(self, token):
        return super().claims(token) | {"exp": token.expires_at, "iat": token.issued_at}


class Lists(Late):
    def claims(self, token):
        return super().claims(token) | {
            "active": "yes",
            "scope": token.scopes,
            "aud": [token.client_id, ISSUER],
            "exp": str(int(token.expires_at)),
            "sub": 42,
            "username": None,
        }


def expire(uri, http_method, body, headers):
    token = parse_qs(body)["token"][0]
    TOKENS[token].expires_at = time.time() - 3600
    return {}, "", 204


server = Server(Validator())
ENDPOINTS = {
    "/token": server.create_token_response,
    "/revoke": server.create_revocation_response,
    "/introspect": server.create_introspect_response,
    "/introspect/late": Server(Late()).create_introspect_response,
    "/introspect/floats": Server(Floats()).create_introspect_response,
    "/introspect/lists": Server(Lists()).create_introspect_response,
    "/test/expire": expire,
}
REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized"}


def application(environ, start_response):
    endpoint = ENDPOINTS.get(environ["PATH_INFO"])
    if endpoint is None:
        start_response("404 Not Found", [])
        return []
    query = environ["QUERY_STRING"]
    headers, body, status = endpoint(
        environ["PATH_INFO"] + ("?" + query if query else ""),
        http_method=environ["REQUEST_METHOD"],
        body=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode(),
        headers={
            "Authorization": environ.get("HTTP_AUTHORIZATION", ""),
            "Content-Type": environ.get("CONTENT_TYPE", ""),
        },
    )
    start_response(f"{status} {REASONS[status]}", list(headers.items()))
    return [body.encode()]


def main():
    with make_server("127.0.0.1", 0, application) as http:
        print(f"http://127.0.0.1:{http.server_port}", flush=True)
        http.serve_forever()


if __name__ == "__main__":
    main()
