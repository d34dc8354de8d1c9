"""Makes the database, once, whichever process comes first."""

import fcntl
import os

from django.core.management import call_command


def make_database():
    """Tables (also the ones of the project, which has no migrations) and an administrator."""
    from django.contrib.auth import get_user_model

    with open(os.environ["SHOP_DATABASE"] + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
        users = get_user_model().objects
        if not users.filter(username="ada").exists():
            users.create_superuser("ada", "ada@localhost", "lovelace")
