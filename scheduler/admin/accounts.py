"""Django's users and groups in the admin's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.utils.translation import pgettext

from scheduler.admin.unfold_compat import (
    CheckboxSelectMultiple,
    ModelAdmin,
    name_date_and_time,
)

if TYPE_CHECKING:
    from django.contrib.auth.forms import (
        AdminPasswordChangeForm,
        AdminUserCreationForm,
        UserChangeForm,
    )
else:
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm
    from unfold.forms import UserCreationForm as AdminUserCreationForm

# The database stores the names of permissions in English.
_ON_MODELS: Final = {
    "add": lambda: pgettext("permission", "Can add %(name)s"),
    "change": lambda: pgettext("permission", "Can change %(name)s"),
    "delete": lambda: pgettext("permission", "Can delete %(name)s"),
    "view": lambda: pgettext("permission", "Can view %(name)s"),
}


class _TranslatedPermissions(ModelAdmin):
    """A ModelAdmin whose form lists permissions in the reader's language."""

    def formfield_for_manytomany(self, db_field: Any, request: Any, **options: Any) -> Any:
        # Not the two lists with arrows between them: their inputs have no labels.
        options.setdefault("widget", CheckboxSelectMultiple())
        field = super().formfield_for_manytomany(db_field, request, **options)
        if db_field.remote_field.model is Permission and field is not None:
            field.label_from_instance = permission_label  # type: ignore[method-assign, assignment]
        return field


def permission_label(permission: Permission) -> str:
    """Returns the translated text of a permission, as Django's `auth | user | Can add user`."""
    kind = permission.content_type
    text = _ON_MODELS.get(permission.codename.partition("_")[0])
    if text is not None and permission.codename.partition("_")[2] == kind.model:
        name = text() % {"name": kind.name}
    else:
        name = pgettext("permission", permission.name)
    return f"{kind} | {name}"


class UserForm(UserChangeForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)


class UserAdmin(_TranslatedPermissions, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserForm
    filter_horizontal = ()
    add_form = AdminUserCreationForm
    change_password_form = AdminPasswordChangeForm


class GroupAdmin(_TranslatedPermissions, DjangoGroupAdmin, ModelAdmin):
    filter_horizontal = ()


def are_possible() -> bool:
    """False where the project has a model of users of its own: only its own pages fit that."""
    return get_user_model() is User


def register(site: Any) -> None:
    """Puts the pages of users and groups on a site, instead of Django's if they are there."""
    if not are_possible():
        return
    for model, pages in ((User, UserAdmin), (Group, GroupAdmin)):
        if site.is_registered(model):
            site.unregister(model)
        site.register(model, pages)
