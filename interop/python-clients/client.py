#!/usr/bin/env python3
"""Clients of Authlib and requests-oauthlib, for the tests of the embedded authorization server.

It does what it is told. Each line on stdin is a JSON object that either opens a
session of a library,

	{"id": 1, "open": "authlib.requests", "as": "web", "with": {"client_id": …}}

or calls a method of one that is open:

	{"id": 2, "session": "web", "call": "fetch_token", "with": {"url": …}}

The members of "with" are the arguments. For each line there is one on stdout,
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
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT  # noqa: E402

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

    def call(self, session, method, arguments):
        if "auth" in arguments:
            arguments["auth"] = tuple(arguments["auth"])
        result = getattr(session, method)(**arguments)
        if inspect.isawaitable(result):
            result = self.loop.run_until_complete(result)
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
