"""The registry of models in a real PostgreSQL."""

import threading
from dataclasses import asdict, replace

import pytest
import sqlalchemy as sa

from infra.store.models import RegisteredModel, known_products, models_in_force, register_in_force
from infra.store.tables import models

from .rows import MODEL


def states(database: sa.Engine) -> dict[tuple[str, int], str]:
    with database.connect() as connection:
        return {(row.product, row.version): row.state for row in connection.execute(sa.select(models))}


def test_a_registered_model_is_in_force_and_comes_back(database: sa.Engine) -> None:
    registered = register_in_force(database, MODEL)
    assert registered == RegisteredModel(
        registered.id, "tile", 1, MODEL.folder, MODEL.flow_sha256, MODEL.manifest_sha256, MODEL.threshold
    )
    assert models_in_force(database) == {"tile": registered}


def test_everything_about_a_model_is_on_record(database: sa.Engine) -> None:
    register_in_force(database, MODEL)
    with database.connect() as connection:
        (row,) = connection.execute(sa.select(models)).mappings()
    assert {name: row[name] for name in asdict(MODEL)} == asdict(MODEL)
    assert row["registered_at"] is not None


def test_the_next_version_retires_the_one_before_and_leaves_other_products_alone(database: sa.Engine) -> None:
    register_in_force(database, MODEL)
    other = register_in_force(database, replace(MODEL, product="cap"))
    second = register_in_force(database, replace(MODEL, threshold=2.5))
    assert (second.version, second.threshold) == (2, 2.5)
    assert models_in_force(database) == {"tile": second, "cap": other}
    assert states(database) == {("tile", 1): "retired", ("cap", 1): "in_force", ("tile", 2): "in_force"}


def test_models_that_are_registered_at_the_same_time_get_versions_of_their_own(database: sa.Engine) -> None:
    together = threading.Barrier(4)
    registered: list[RegisteredModel] = []

    def register() -> None:
        together.wait(30)
        registered.append(register_in_force(database, MODEL))

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(model.version for model in registered) == [1, 2, 3, 4]
    assert models_in_force(database) == {"tile": max(registered, key=lambda model: model.version)}


def test_two_models_in_force_for_one_product_cannot_be(database: sa.Engine) -> None:
    register_in_force(database, MODEL)
    register_in_force(database, MODEL)
    with pytest.raises(sa.exc.IntegrityError, match="models_in_force"), database.begin() as connection:
        connection.execute(sa.text("UPDATE models SET state = 'in_force'"))


def test_a_product_stays_known_when_its_model_is_retired(database: sa.Engine) -> None:
    assert known_products(database) == frozenset()
    register_in_force(database, MODEL)
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE models SET state = 'retired'"))
    assert known_products(database) == {"tile"}
    assert models_in_force(database) == {}
    assert register_in_force(database, MODEL).version == 2
