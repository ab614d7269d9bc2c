"""The only module that imports the admin's theme (django-unfold). Other modules import from here.

The theme has no type annotations. The type checker sees the Django classes that it extends.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from django import forms
    from django.contrib import admin
    from django.contrib.admin import FieldListFilter, SimpleListFilter
    from django.contrib.admin.filters import RelatedFieldListFilter
    from django.contrib.admin.views.main import ChangeList
    from django.core.paginator import Paginator
    from django.forms import CheckboxInput as SwitchWidget
    from django.forms import CheckboxSelectMultiple
    from django.forms import NumberInput as IntegerWidget
    from django.forms import RadioSelect as RadioSelectWidget
    from django.forms import Select as SelectWidget
    from django.forms import Textarea as TextareaWidget
    from django.forms import TextInput as TextInputWidget
    from django.forms.widgets import SplitDateTimeWidget

    ModelAdmin = admin.ModelAdmin[Any]
    ThemeSite = admin.AdminSite
    AnyPaginator = Paginator[Any]
    AnyModelForm = forms.ModelForm[Any]
    AutocompleteSelectFilter = RelatedFieldListFilter
    ChoicesDropdownFilter = FieldListFilter
    DropdownFilter = SimpleListFilter
    RangeDateFilter = FieldListFilter
    TextFilter = SimpleListFilter

    def page_action(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...

else:
    from django.core.paginator import Paginator as AnyPaginator
    from django.forms import ModelForm as AnyModelForm
    from unfold.admin import ModelAdmin as ThemeModelAdmin
    from unfold.contrib.filters.admin import (
        AutocompleteSelectFilter,
        ChoicesDropdownFilter,
        DropdownFilter,
        RangeDateFilter,
        TextFilter,
    )
    from unfold.decorators import action as page_action
    from unfold.sites import UnfoldAdminSite as ThemeSite
    from unfold.views import ChangeList
    from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget as CheckboxSelectMultiple
    from unfold.widgets import UnfoldAdminIntegerFieldWidget as IntegerWidget
    from unfold.widgets import UnfoldAdminRadioSelectWidget as RadioSelectWidget
    from unfold.widgets import UnfoldAdminSelectWidget as SelectWidget
    from unfold.widgets import UnfoldAdminSplitDateTimeWidget as SplitDateTimeWidget
    from unfold.widgets import UnfoldAdminTextareaWidget as TextareaWidget
    from unfold.widgets import UnfoldAdminTextInputWidget as TextInputWidget
    from unfold.widgets import UnfoldBooleanSwitchWidget as SwitchWidget

    class ModelAdmin(ThemeModelAdmin):
        @property
        def media(self):
            found = super().media
            media_of = getattr(self.admin_site, "media_of", None)  # jobu's own site
            return found if media_of is None else media_of(found)

        def get_changelist_instance(self, request):
            found = super().get_changelist_instance(request)
            if hasattr(self.admin_site, "media_of"):
                for spec in found.filter_specs:
                    # Django loads it with the project's engine, which finds Django's.
                    if spec.template == "admin/filter.html":
                        spec.template = "scheduler/filter.html"
            return found


import unfold
import unfold.contrib.filters
from django.forms import BaseForm
from django.utils.text import format_lazy
from unfold.enums import ActionVariant

__all__ = [
    "THEME_FOLDERS",
    "ActionVariant",
    "AnyModelForm",
    "AnyPaginator",
    "AutocompleteSelectFilter",
    "ChangeList",
    "CheckboxSelectMultiple",
    "ChoicesDropdownFilter",
    "DropdownFilter",
    "IntegerWidget",
    "ModelAdmin",
    "RadioSelectWidget",
    "RangeDateFilter",
    "SelectWidget",
    "SplitDateTimeWidget",
    "SwitchWidget",
    "TextFilter",
    "TextInputWidget",
    "TextareaWidget",
    "ThemeSite",
    "name_date_and_time",
    "page_action",
]

#: The packages of the theme, with their templates and static files.
THEME_FOLDERS: Final = [Path(each.__path__[0]) for each in (unfold, unfold.contrib.filters)]


def name_date_and_time(form: BaseForm) -> None:
    """Gives the date input and the time input of an instant a name each, for screen readers.

    The visible label belongs to neither of the two inputs.
    """
    for field in form.fields.values():
        if isinstance(field.widget, SplitDateTimeWidget):
            for part in field.widget.widgets:
                what = part.attrs.get("placeholder", "")
                part.attrs["aria-label"] = format_lazy("{} {}", field.label or "", what)
