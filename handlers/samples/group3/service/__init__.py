"""What can be done with items, whoever asks."""

from handlers.samples.group3.service.items import ItemNotFoundError, ItemService

__all__ = ["ItemNotFoundError", "ItemService"]
