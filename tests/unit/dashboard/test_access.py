"""Who may do what: the rights in the data layer, the roles of a sign-in, and what an administrator left of them."""

import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import dashboard.data
from dashboard import access, identity
from dashboard.access import Person, Right
from dashboard.identity import SignedIn
from infra.errors import AccessDeniedError
from infra.settings import Settings
from infra.store.role_limits import RoleLimit
from infra.store.tables import Role

from .conftest import Become

THE_REAL_ONE = access.person


def data_modules() -> list[types.ModuleType]:
    found = pkgutil.walk_packages(dashboard.data.__path__, "dashboard.data.")
    return [importlib.import_module(module.name) for module in found]


def functions() -> dict[str, Callable[..., object]]:
    return {
        f"{module.__name__}.{name}": function
        for module in data_modules()
        for name, function in vars(module).items()
        if not name.startswith("_")
        and inspect.isfunction(function)
        and inspect.unwrap(function).__module__ == module.__name__
    }


def test_every_public_function_of_the_data_layer_names_the_right_it_needs() -> None:
    assert len(functions()) >= 5
    assert [name for name, function in functions().items() if not hasattr(function, access.RIGHT)] == []


def test_nobody_without_a_role_gets_anything_from_the_data_layer(become: Become) -> None:
    become(Role.NONE)
    for function in functions().values():
        with pytest.raises(AccessDeniedError):
            function()  # the right is asked for before the arguments are looked at


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        (Role.NONE, set()),
        (Role.VIEWER, {Right.SEE}),
        (Role.INSPECTOR, {Right.SEE, Right.INSPECT}),
        (Role.ENGINEER, {Right.SEE, Right.INSPECT, Right.ENGINEER}),
        (Role.ADMIN, set(Right)),
    ],
)
def test_each_role_may_what_those_before_it_may(role: Role, rights: set[Right]) -> None:
    assert {right for right in Right if Person("x", role).may(right)} == rights


def as_if(monkeypatch: pytest.MonkeyPatch, role: Role, limit: Role | None) -> list[bool]:
    """Sign somebody in; returns whether the provider was asked anew, of each time."""
    asked: list[bool] = []

    def signed_in(*, anew: bool = False) -> SignedIn:
        asked.append(anew)
        return SignedIn("m.weber", role)

    of = {} if limit is None else {"m.weber": RoleLimit("m.weber", limit, "a", "r", datetime(2026, 1, 1, tzinfo=UTC))}
    monkeypatch.setattr(identity, "signed_in", signed_in)
    monkeypatch.setattr(access, "person", THE_REAL_ONE)
    monkeypatch.setattr(access, "limits", lambda _database: of)
    return asked


@pytest.mark.parametrize(
    ("role", "limit", "is_now"),
    [
        (Role.ENGINEER, None, Role.ENGINEER),
        (Role.ENGINEER, Role.VIEWER, Role.VIEWER),
        (Role.VIEWER, Role.ADMIN, Role.VIEWER),  # a limit gives nothing
        (Role.ADMIN, Role.NONE, Role.NONE),
    ],
)
def test_a_limit_takes_away_and_never_gives(
    monkeypatch: pytest.MonkeyPatch, role: Role, limit: Role | None, is_now: Role
) -> None:
    as_if(monkeypatch, role, limit)
    assert access.person().role is is_now


def test_what_writes_asks_anew_and_what_reads_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = as_if(monkeypatch, Role.ADMIN, None)
    access.require(Right.SEE)
    access.require(Right.INSPECT)
    assert asked == [False, True]


SETTINGS = Settings(oidc_metadata_url="https://sso.example/.well-known/openid-configuration")


@pytest.mark.parametrize(
    ("said", "role"),
    [
        ("differline-engineer", Role.ENGINEER),
        (["differline-viewer", "differline-inspector", "staff"], Role.INSPECTOR),
        (["engineer"], Role.NONE),  # only what the settings name counts
        ([["differline-admin"]], Role.NONE),
        ({"differline-admin": True}, Role.NONE),
        (None, Role.NONE),
    ],
)
def test_a_role_comes_from_the_claim_as_the_settings_map_it(said: Any, role: Role) -> None:
    found = identity.from_claims(SETTINGS, {"email": "m@example.org", "roles": said})
    assert found == SignedIn("m@example.org", role)


@pytest.mark.parametrize("claims", [{}, {"email": " "}, {"email": None}, {"email": ["a"]}])
def test_a_sign_in_without_a_name_is_nobody(claims: dict[str, Any]) -> None:
    with pytest.raises(AccessDeniedError, match="email"):
        identity.from_claims(SETTINGS, {**claims, "roles": "differline-admin"})


def test_an_address_that_nobody_has_verified_names_nobody() -> None:
    claims = {"email": "m@example.org", "roles": "differline-admin"}
    with pytest.raises(AccessDeniedError, match="verified"):
        identity.from_claims(SETTINGS, {**claims, "email_verified": False})
    assert identity.from_claims(SETTINGS, {**claims, "email_verified": True}).role is Role.ADMIN
    by_number = SETTINGS.model_copy(update={"oidc_name_claim": "sub"})
    assert identity.from_claims(by_number, {**claims, "sub": "4711", "email_verified": False}).name == "4711"


@pytest.mark.parametrize(
    ("host", "setting", "role"),
    [
        ("127.0.0.1", "auto", Role.ADMIN),
        ("::1", "auto", Role.ADMIN),
        ("localhost", "auto", Role.ADMIN),
        ("0.0.0.0", "auto", Role.VIEWER),
        ("line.example", "auto", Role.VIEWER),
        ("0.0.0.0", "inspector", Role.INSPECTOR),
        ("127.0.0.1", "viewer", Role.VIEWER),
    ],
)
def test_without_a_provider_only_this_machine_may_everything(host: str, setting: Any, role: Role) -> None:
    assert identity.local_role(Settings(dashboard_host=host, dashboard_role=setting)) is role
