"""The project's URLs."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path, re_path

from . import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("items/", views.items),
    path("upload/", views.upload),
    path("stream/", views.stream),
    path("download/", views.download),
    path("fail/", views.fail),
    re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True}),
]
