#!/usr/bin/env python3
"""Clients of Authlib and requests-oauthlib, for the tests of the embedded authorization server.

It does what it is told. Each line on stdin is a JSON object that either opens a
session of a library,

	{"id": 1, "open": "authlib.requests", "as": "web", "with": {"client_id": …}}

or calls a method of one that is open:

	{"id": 2, "session": "web", "call": "fetch_token", "with": {"url": …}}

The members of "with" are the arguments. The call "validate_id_token" is not of
the libraries' sessions: it has Authlib validate an ID token, and returns the
claims. For each line there is one on stdout,
with the result or the exception, and with the tokens that the library has
meanwhile handed to the application to keep.

Needs the Debian packages python3-authlib, python3-httpx, python3-requests and
python3-requests-oauthlib.
"""

import asyncio
import inspect
import json
import os
import sys

# The server is reached over loopback only.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

import authlib.integrations.httpx_client  # noqa: E402
import authlib.integrations.requests_client  # noqa: E402
import oauthlib.oauth2  # noqa: E402
import requests_oauthlib  # noqa: E402
from authlib.jose import JsonWebKey, JsonWebToken  # noqa: E402
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT  # noqa: E402
from authlib.oidc.core import CodeIDToken  # noqa: E402
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url  # noqa: E402

SESSIONS = {
    "authlib.requests": authlib.integrations.requests_client.OAuth2Session,
    "authlib.requests assertion": authlib.integrations.requests_client.AssertionSession,
    "authlib.httpx": authlib.integrations.httpx_client.AsyncOAuth2Client,
    "authlib.httpx assertion": authlib.integrations.httpx_client.AsyncAssertionClient,
    "requests_oauthlib": requests_oauthlib.OAuth2Session,
}

SIGNING = {"client_secret_jwt": ClientSecretJWT, "private_key_jwt": PrivateKeyJWT}


class Clients:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.sessions = {}
        self.kept = []

    def keep(self, token, **_):
        self.kept.append(dict(token))

    async def keep_asynchronously(self, token, **_):
        self.keep(token)

    def open(self, kind, options):
        auth = options.pop("auth", None)
        if kind == "requests_oauthlib":
            client = options.get("client")
            if client:
                options["client"] = getattr(oauthlib.oauth2, client.pop("type"))(**client)
            session = SESSIONS[kind](token_updater=self.keep, **options)
        elif kind.endswith("assertion"):
            session = SESSIONS[kind](**options)
        else:
            keep = self.keep_asynchronously if kind == "authlib.httpx" else self.keep
            session = SESSIONS[kind](update_token=keep, **options)
            method = options.get("token_endpoint_auth_method")
            if method in SIGNING:
                session.register_client_auth_method(SIGNING[method]())
        if auth:
            session.auth = tuple(auth)
        return session

    def await_if_asynchronous(self, result):
        if inspect.isawaitable(result):
            return self.loop.run_until_complete(result)
        return result

    def fetch(self, session, url):
        response = self.await_if_asynchronous(session.request("GET", url, withhold_token=True))
        response.raise_for_status()
        return response.json()

    def validate_id_token(self, session, issuer, token, nonce=None):
        """As in Authlib's documentation; the issuer is all that it is told of the server."""
        metadata = OpenIDProviderMetadata(self.fetch(session, get_well_known_url(issuer, external=True)))
        if metadata["issuer"] != issuer:
            raise ValueError("another issuer: " + metadata["issuer"])
        claims = JsonWebToken(metadata["id_token_signing_alg_values_supported"]).decode(
            token["id_token"],
            key=JsonWebKey.import_key_set(self.fetch(session, metadata["jwks_uri"])),
            claims_cls=CodeIDToken,
            claims_options={
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": session.client_id},
                "at_hash": {"essential": True},
            },
            claims_params={
                "nonce": nonce,
                "client_id": session.client_id,
                "access_token": token["access_token"],
            },
        )
        claims.validate()
        return dict(claims)

    def call(self, session, method, arguments):
        if method == "validate_id_token":
            return self.validate_id_token(session, **arguments)
        if "auth" in arguments:
            arguments["auth"] = tuple(arguments["auth"])
        result = self.await_if_asynchronous(getattr(session, method)(**arguments))
        if hasattr(result, "status_code"):
            return {"status": result.status_code, "body": result.text}
        return result

    def do(self, task):
        if "open" in task:
            self.sessions[task["as"]] = self.open(task["open"], task["with"])
            return None
        return self.call(self.sessions[task["session"]], task["call"], task["with"])


def main():
    clients = Clients()
    for line in sys.stdin:
        task = json.loads(line)
        outcome = {"id": task["id"]}
        try:
            outcome["result"] = clients.do(task)
        except Exception as exception:
            outcome["exception"] = {
                "type": type(exception).__name__,
                "error": getattr(exception, "error", ""),
                "text": str(exception),
                "token": getattr(exception, "token", None),
            }
        outcome["kept"], clients.kept = clients.kept, []
        print(json.dumps(outcome, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main()
