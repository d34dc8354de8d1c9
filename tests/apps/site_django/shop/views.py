"""The project's views."""

import hashlib

from django.http import FileResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Item


@csrf_exempt
def items(request):
    """Adds an item, lists them all."""
    if request.method == "POST":
        Item.objects.create(name=request.POST["name"])
    return JsonResponse({"items": [item.name for item in Item.objects.order_by("id")]})


@csrf_exempt
def upload(request):
    """Hashes an uploaded file."""
    digest = hashlib.sha256()
    for chunk in request.FILES["file"].chunks():
        digest.update(chunk)
    return JsonResponse({"sha256": digest.hexdigest(), "size": request.FILES["file"].size})


def stream(request):
    """A streaming response."""
    return StreamingHttpResponse((f"{number}\n" for number in range(1000)), content_type="text/plain")


def download(request):
    """A file through wsgi.file_wrapper."""
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="views.py")


def fail(request):
    """A bug."""
    raise RuntimeError("a bug in a Django view")
