"""What the shop knows."""

from django.contrib import admin
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=80)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    stock = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.title


admin.site.register([Author, Book])
