"""A form field for the JSON of a handler's params. It hides secrets and locates mistakes.

If the handler has a model, static/scheduler/job_params.js replaces the text by a form
(jobs/params_form.py).
"""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from handlers import InvalidParamsError
from handlers.params import checked_mapping
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import TextareaWidget, TextInputWidget
from scheduler.operations.json_equal import json_equal
from scheduler.operations.masking import MASK, left_masked, mask, unmask
from scheduler.operations.param_words import bad_params

# The translated texts of job_params.js.
_WORDS = {
    "form": _("Form"),
    "json": _("JSON"),
    "extra": _("Further parameters"),
    "any": _("Any others"),
    "extraHelp": _("a JSON object; the handler gets them as they are"),
    "default": _("default: %s"),
    "required": _("required"),
    "notSet": _("not set"),
    "yes": _("yes"),
    "no": _("no"),
    "notJson": _("This is not JSON that can be read."),
    "notObject": _("This must be a JSON object."),
    "onlyJson": _("These parameters can only be edited as JSON."),
    "noModel": _("This handler describes no parameters: any JSON object is taken."),
    "jsonHelp": _("JSON"),
    "secretHelp": _("hidden; what is typed replaces it"),
}


class _AsTyped(str):
    """Text from the request, which the form shows again unchanged."""

    __slots__ = ()


class ParamsWidget(TextareaWidget):
    """A text area for JSON. After `describe`, job_params.js adds a form of the handler's model."""

    class Media:
        css = {"all": ("scheduler/job_form.css",)}
        js = ("scheduler/job_params.js",)

    def __init__(self) -> None:
        super().__init__(
            attrs={"rows": 8, "spellcheck": "false", "style": "font-family: monospace"}
        )

    def describe(self, *, handler: str = "", handler_input: str = "", job_id: Any = None) -> None:
        """Chooses the model: of `handler`, or of the handler typed into input `handler_input`."""
        url = reverse("admin:scheduler_cronjob_params")
        self.attrs |= {
            "data-params-url": url if job_id is None else f"{url}?job={job_id}",
            "data-params-handler": handler,
            "data-params-handler-input": handler_input,
            "data-params-class": TextInputWidget().attrs.get("class", ""),
            "data-params-mask": MASK,
            "data-params-words": json.dumps({key: str(word) for key, word in _WORDS.items()}),
        }


class ParamsField(forms.JSONField):
    """A JSON object. `stored` holds the values behind the hidden secrets of the text."""

    def __init__(self, **options: Any) -> None:
        options.pop("encoder", None)
        options.pop("decoder", None)
        options["widget"] = ParamsWidget()
        super().__init__(**options)
        self.stored: Any = {}

    def describe(self, **about: Any) -> None:
        """Calls ParamsWidget.describe."""
        assert isinstance(self.widget, ParamsWidget)
        self.widget.describe(**about)

    def prepare_value(self, value: Any) -> str:
        if isinstance(value, _AsTyped):
            return value
        return json.dumps({} if value is None else mask(value), indent=2, ensure_ascii=False)

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial if self.disabled else _AsTyped("" if data is None else data)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return not json_equal(self.to_python(data), initial)
        except ValidationError:
            return True

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.strip():
            return {}
        try:
            typed = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValidationError(
                _("not JSON: %(problem)s at line %(line)s, column %(column)s"),
                code="invalid",
                params={"problem": error.msg, "line": error.lineno, "column": error.colno},
            ) from error
        except (RecursionError, ValueError) as error:  # such as too many digits
            raise ValidationError(_("not JSON that can be stored"), code="invalid") from error
        if not isinstance(typed, dict):
            raise ValidationError(_('must be a JSON object, such as {"id": 1}'), code="invalid")
        try:
            checked_mapping(typed)  # refuses deep nesting before any recursion
        except InvalidParamsError as error:
            raise ValidationError(bad_params(error), code="invalid") from error
        found = unmask(typed, self.stored)
        for path in left_masked(found):
            raise ValidationError(
                _("%(path)s: %(mask)s only stands for a stored value; type the value itself"),
                code="invalid",
                params={"path": path, "mask": MASK},
            )
        return found

    def validate(self, value: Any) -> None:
        """Accepts an empty object, which Django's field would refuse as missing."""
