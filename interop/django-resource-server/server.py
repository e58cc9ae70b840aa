#!/usr/bin/env python3
"""A resource server of Django OAuth Toolkit's, for the tests of the embedded authorization server.

It introspects the tokens that it gets at INTROSPECTION_URL. It signs in there
with the access token INTROSPECTION_TOKEN, or as the client CLIENT_ID with
CLIENT_SECRET.

GET / wants a token with the scope "orders:read", and says whose it is.

The first line on stdout is the URL of the server, which listens on 127.0.0.1.

Needs the Debian package python3-django-oauth-toolkit.
"""

import os
from wsgiref.simple_server import make_server

import django
from django.conf import settings

sign_in = {"RESOURCE_SERVER_AUTH_TOKEN": os.environ.get("INTROSPECTION_TOKEN")}
if "CLIENT_ID" in os.environ:
    sign_in = {"RESOURCE_SERVER_INTROSPECTION_CREDENTIALS": (os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])}

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    LOGGING_CONFIG=None,
    OAUTH2_PROVIDER={
        "RESOURCE_SERVER_INTROSPECTION_URL": os.environ["INTROSPECTION_URL"],
        "RESOURCE_SERVER_TOKEN_CACHING_SECONDS": 1,  # in which a revocation goes unnoticed
        **sign_in,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret",
    TIME_ZONE="UTC",  # in which Django OAuth Toolkit takes "exp" to be
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from oauth2_provider.decorators import protected_resource  # noqa: E402


@protected_resource(scopes=["orders:read"])
def orders(request):
    return JsonResponse({"user": request.resource_owner and request.resource_owner.username})


urlpatterns = [path("", orders)]


def main():
    call_command("migrate", verbosity=0)
    with make_server("127.0.0.1", 0, get_wsgi_application()) as http:
        print(f"http://127.0.0.1:{http.server_port}", flush=True)
        http.serve_forever()


if __name__ == "__main__":
    main()
