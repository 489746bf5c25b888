"""A page, a form that is guarded against foreign origins, JSON about the request, and a fault."""

from django.http import HttpResponse, JsonResponse
from django.template import engines
from django.urls import path

FORM = """<!doctype html><title>django behind shimmercat</title>
<form method="post">{% csrf_token %}<input name="words" value=""><button>send</button></form>"""


def page(request):
    """Shows the form; answers what was sent with it."""
    if request.method == "POST":
        return HttpResponse(f"got {request.POST.get('words', '')}")
    return HttpResponse(engines["django"].from_string(FORM).render({}, request))


def facts(request):
    """What Django believes about the request."""
    return JsonResponse(
        {
            "url": request.build_absolute_uri(),
            "secure": request.is_secure(),
            "host": request.get_host(),
            "forwarded": request.headers.get("Forwarded"),
            "forwarded-for": request.headers.get("X-Forwarded-For"),
        }
    )


def broken(request):
    """Fails, so that Django shows its page for developers."""
    raise RuntimeError("broken on purpose")


urlpatterns = [path("", page), path("facts", facts), path("broken", broken)]
