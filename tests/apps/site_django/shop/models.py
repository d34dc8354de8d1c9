"""One table."""

from django.db import models


class Item(models.Model):
    """Something in the shop."""

    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name
