#!/usr/bin/env python3
"""A resource server of Authlib's, for the tests of the embedded authorization server.

It introspects the tokens that it gets at INTROSPECTION_URL, as the client
CLIENT_ID with CLIENT_SECRET.

GET / wants a token with the scope "orders:read", and says what it was told of
it.

The first line on stdout is the URL of the server, which listens on 127.0.0.1.

Needs the Debian packages python3-authlib, python3-flask and python3-requests.
"""

import os
from wsgiref.simple_server import make_server

import requests
from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from flask import Flask, jsonify


class Validator(IntrospectTokenValidator):
    def introspect_token(self, token_string):
        response = requests.post(
            os.environ["INTROSPECTION_URL"],
            data={"token": token_string, "token_type_hint": "access_token"},
            auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]),
        )
        response.raise_for_status()
        return response.json()


app = Flask(__name__)
require_oauth = ResourceProtector()
require_oauth.register_token_validator(Validator())


@app.get("/")
@require_oauth("orders:read")
def orders():
    return jsonify(dict(current_token))


def main():
    with make_server("127.0.0.1", 0, app) as http:
        print(f"http://127.0.0.1:{http.server_port}", flush=True)
        http.serve_forever()


if __name__ == "__main__":
    main()
