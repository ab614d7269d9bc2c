"""A text field that suggests known values."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from scheduler.admin.unfold_compat import TextInputWidget


class SuggestingInput(TextInputWidget):
    """A text field with suggestions. A person may choose a known value or type any other."""

    def __init__(self, suggest: Any) -> None:
        super().__init__(attrs={"autocomplete": "off", "spellcheck": "false"})
        self._suggest = suggest

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        list_id = f"known_{name}"
        field = super().render(name, value, {**(attrs or {}), "list": list_id}, renderer)
        options = format_html_join(
            "", '<option value="{}"></option>', ((known,) for known in self._suggest())
        )
        return format_html('{}<datalist id="{}">{}</datalist>', field, list_id, options)
