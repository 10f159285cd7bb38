"""Django's own admin over a bookshop, with a database of its own."""

import argparse

import django
from django.conf import settings
from django.core.management import call_command

APPLICATIONS = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
PROCESSORS = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
)


def configure(database: str) -> None:
    settings.configure(
        DEBUG=True,
        SECRET_KEY="an example",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="shop.urls",
        STATIC_URL="/static/",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        MIGRATION_MODULES=dict.fromkeys(("shop", *APPLICATIONS)),  # tables are made as the models are now
        INSTALLED_APPS=["shop", *(f"django.contrib.{name}" for name in APPLICATIONS)],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": PROCESSORS},
            }
        ],
    )
    django.setup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()
    configure(options.database)
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("runserver", f"127.0.0.1:{options.port}", use_reloader=False, skip_checks=True)


if __name__ == "__main__":
    main()
