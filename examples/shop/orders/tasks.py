"""Celery tasks of the shop. They know nothing of jobu: a job names one as `celery:orders.tasks...`.

The shop may go on calling them with `delay()`, too.
"""

from celery import shared_task
from django.db import transaction
from django.db.models import Sum

from orders.models import Order


@shared_task
def ship_open_orders(limit: int = 100) -> dict[str, int]:
    """Ship the oldest orders for which there is stock."""
    shipped = 0
    with transaction.atomic():
        opened = Order.objects.select_related("product").filter(shipped=False)
        for order in opened.select_for_update().order_by("placed_at", "pk")[:limit]:
            order.product.refresh_from_db()
            if order.product.stock < order.pieces:
                continue
            order.product.stock -= order.pieces
            order.product.save()
            order.shipped = True
            order.save()
            shipped += 1
    return {"shipped": shipped}


@shared_task
def count_sales() -> dict[str, int]:
    """Return the pieces that were shipped, by product."""
    sales = Order.objects.filter(shipped=True).values_list("product__name").annotate(Sum("pieces"))
    return dict(sales)
