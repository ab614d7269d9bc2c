from django.contrib import admin

from orders.models import Order, Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "stock")


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("product", "pieces", "placed_at", "shipped")
    list_filter = ("shipped",)
