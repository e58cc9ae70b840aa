#!/usr/bin/env python3
"""A site with Django OAuth Toolkit, for the tests of the gateway and for its example.

Everything that speaks OAuth 2.0 here is Django OAuth Toolkit as it comes: the
site is its tables in a database in memory, its URLs below /o/, one user and a
few applications. Who may introspect is decided by it too: every application,
and every access token with the scope "introspection".

	server.py [port]

The first line on stdout is the URL of the server, which listens on 127.0.0.1,
on a free port unless told.

POST /test/expire is for tests alone. It lets the lifetime of an access token
be over, which the form's "token" names.

Needs the Debian package python3-django-oauth-toolkit.
"""

import sys
from datetime import timedelta
from wsgiref.simple_server import make_server

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # which adds the slash at the end of a URL
    OAUTH2_PROVIDER={
        "SCOPES": {
            "orders:read": "Read your orders",
            "orders:write": "Change your orders",
            "introspection": "Introspect tokens",
        },
        "DEFAULT_SCOPES": [],
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # the fastest
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.utils import timezone  # noqa: E402
from oauth2_provider.models import AccessToken, Application  # noqa: E402


def expire(request):
    AccessToken.objects.filter(token=request.POST["token"]).update(expires=timezone.now() - timedelta(hours=1))
    return HttpResponse(status=204)


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("test/expire", expire),
]


def fill_tables():
    call_command("migrate", verbosity=0)
    User.objects.create_user("jane", password="jane-password")
    for client_id, client_secret, grant in (
        # The gateway, which asks about tokens. Django OAuth Toolkit decodes
        # Basic credentials as RFC 6749 says.
        ("gateway", "gateway-secret", Application.GRANT_CLIENT_CREDENTIALS),
        ("gateway-2", "p@ss w+rd/é%:& ", Application.GRANT_CLIENT_CREDENTIALS),
        # An application gets its tokens in one way.
        ("orders-app", "orders-app-secret", Application.GRANT_PASSWORD),
        ("orders-job", "orders-job-secret", Application.GRANT_CLIENT_CREDENTIALS),
    ):
        Application.objects.create(
            client_id=client_id,
            client_secret=client_secret,
            client_type=Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=grant,
        )


def main():
    fill_tables()
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with make_server("127.0.0.1", port, get_wsgi_application()) as http:
        print(f"http://127.0.0.1:{http.server_port}", flush=True)
        http.serve_forever()


if __name__ == "__main__":
    main()
