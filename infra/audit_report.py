"""The audit log as a table for people."""

import io

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.printable import moment, printable
from infra.store.audit import AuditRow

_WIDTH = 180


def audit_table(rows: list[AuditRow]) -> str:
    """Return rows of the log as a table of text, in their order."""
    table = Table("row", "at", "who", "action", "subject", "reason", "detail", title="audit log", title_justify="left")
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off
        column.no_wrap = column.header in ("row", "at")
    for row in rows:
        detail = ", ".join(f"{name} {value}" for name, value in row.detail.items())
        cells = (str(row.id), moment(row.at), row.who, row.action, row.subject, row.reason, detail)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()
