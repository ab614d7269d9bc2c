"""Operations on items, for any caller."""

from handlers.samples.group3.service.items import ItemNotFoundError, ItemService

__all__ = ["ItemNotFoundError", "ItemService"]
