"""The Django project of tests/apps/site_django, with its database made when it is loaded."""

import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "site_django"))
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
if "SHOP_DATABASE" not in os.environ:
    os.environ["SHOP_DATABASE"] = os.path.join(tempfile.mkdtemp(prefix="neat-django-"), "shop.sqlite3")

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

from shop.setup import make_database  # noqa: E402

make_database()
