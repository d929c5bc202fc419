"""REST: a user's own figures."""

from django.db.models import Count
from rest_framework.request import Request
from rest_framework.response import Response

from chat import metrics
from chat.api.base import View, owner
from chat.api.schema import described
from chat.api.serializers import NumbersSerializer
from chat.models import Message, Run, Thread


class Metrics(View):
    @described("metrics", {200: NumbersSerializer})
    def get(self, request: Request) -> Response:
        """Return the user's own figures: threads, messages, runs by status, tokens used, and their cost.

        The cost goes by list prices, as far as the models' prices are known.
        """
        user = owner(request)
        by_status = Run.objects.for_user(user).values_list("status").annotate(n=Count("pk")).order_by()
        used = list(Run.objects.for_user(user).exclude(usage={}).values_list("usage", flat=True))
        statuses = (*Run.ACTIVE, Run.COMPLETED, Run.FAILED, Run.CANCELLED)
        return Response(
            {
                "threads": Thread.objects.for_user(user).count(),
                "messages": Message.objects.for_user(user).count(),
                "runs": {**dict.fromkeys(statuses, 0), **dict(by_status)},
                "tokens": {kind: int(metrics.total(used, f"{kind}_tokens")) for kind in ("input", "output")},
                "cost_usd": round(metrics.total(used, "cost_usd"), 6),
            }
        )
