"""The admin, and three paths more: all there is, beginning anew, and logging the administrator in."""

from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from shop.models import Author, Book

AUTHORS = ("Austen", "Borges", "Camus", "Duras", "Eliot", "Fontane", "Grass", "Hamsun")
USERS = ("ada", "bela", "chen", "dara", "emil", "fatima", "goran", "hana")


@csrf_exempt
def reset(request: HttpRequest) -> JsonResponse:
    for model in (Book, Author, User):
        model.objects.all().delete()
    authors = Author.objects.bulk_create(Author(name=name) for name in AUTHORS)
    Book.objects.bulk_create(Book(title=f"Works of {each.name}", author=each, stock=3) for each in authors)
    User.objects.bulk_create(User(username=name) for name in USERS)
    User(username="admin", is_staff=True, is_superuser=True).save()
    return JsonResponse({})


def state(request: HttpRequest) -> JsonResponse:
    return JsonResponse(
        {
            "books": list(Book.objects.values("title", "author__name", "stock")),
            "authors": list(Author.objects.values("name")),
            "users": list(User.objects.values("username", "email", "is_active", "is_staff")),
        }
    )


def enter(request: HttpRequest) -> JsonResponse:
    login(request, User.objects.get(username="admin"), backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({})


urlpatterns = [
    path("api/state", state),
    path("api/reset", reset),
    path("api/login", enter),
    path("admin/", admin.site.urls),
]
