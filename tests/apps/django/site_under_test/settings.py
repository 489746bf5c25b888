"""The settings that a site needs which is served under its production name, and no more."""

from pathlib import Path

import django

SECRET_KEY = "a test has no secrets"
DEBUG = True
ALLOWED_HOSTS = [".example.com"]
ROOT_URLCONF = "site_under_test.urls"
# `runserver` serves the static files by itself; the admin's are there already.
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATICFILES_DIRS = [Path(django.__file__).parent / "contrib/admin/static/admin"]
STATIC_URL = "static/"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
# The proxy in front tells what the browser used; `build_absolute_uri` and CSRF's origin check depend on it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CSRF_COOKIE_SECURE = True
USE_TZ = True
