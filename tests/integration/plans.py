"""What PostgreSQL really does for a query."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa


def plan_nodes(database: sa.Engine, query: sa.Select[Any]) -> Iterator[dict[str, Any]]:
    """Every step that PostgreSQL really took for a query."""
    compiled = query.compile(dialect=database.dialect, compile_kwargs={"render_postcompile": True})
    with database.connect() as connection:
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", compiled.params).scalar_one()
    waiting = [plan["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        yield node


def rows_read(node: dict[str, Any]) -> float:
    return node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
