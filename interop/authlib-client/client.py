#!/usr/bin/env python3
"""A client of Authlib's, for the tests of the embedded authorization server.

It reads a JSON object from stdin: the URLs of the server's endpoints, the clients
to be, each with its id, its secret or private key, and how it authenticates, and
perhaps the assertion to get a token for. As each client it gets a token, asks
about it, revokes it, and asks again. It writes what it was told as a JSON object.

Needs the Debian packages python3-authlib and python3-requests.
"""

import json
import os
import sys

# The server is reached over loopback only.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.requests_client import OAuth2Session  # noqa: E402
from authlib.oauth2.rfc7523 import (  # noqa: E402
    ClientSecretJWT,
    JWTBearerGrant,
    PrivateKeyJWT,
)

SIGNING = {"client_secret_jwt": ClientSecretJWT, "private_key_jwt": PrivateKeyJWT}


def session_of(client):
    session = OAuth2Session(
        client["id"],
        client["secret"],
        token_endpoint_auth_method=client["method"],
        revocation_endpoint_auth_method=client["method"],
    )
    if client["method"] in SIGNING:
        signing = SIGNING[client["method"]]
        session.register_client_auth_method(
            signing(client.get("audience"), alg=client["alg"])
        )
    return session


def life_of_a_token(client, server):
    session = session_of(client)
    grant = {"grant_type": "client_credentials", "scope": "orders:read"}
    if "assertion" in client:
        grant = {
            "grant_type": JWTBearerGrant.GRANT_TYPE,
            "assertion": JWTBearerGrant.sign(**client["assertion"]).decode(),
        }
    issued = session.fetch_token(server["token"], **grant)
    token = issued["access_token"]

    def ask():
        return session.introspect_token(server["introspection"], token).json()

    before = ask()
    revoked = session.revoke_token(server["revocation"], token).status_code
    return {"issued": issued, "before": before, "revoked": revoked, "after": ask()}


def main():
    task = json.load(sys.stdin)
    told = {
        name: life_of_a_token(client, task["server"])
        for name, client in task["clients"].items()
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
