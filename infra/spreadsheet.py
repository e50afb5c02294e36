"""Text from outside in a CSV: a spreadsheet that opens it must not take a part id for a formula and run it.

Source: OWASP, "CSV Injection": a cell that begins with one of these signs is one, whatever quotes stand around it.
"""

_BEGINS_A_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are the wide forms of the first
_MARK = "'"  # spreadsheets take what follows it as text


def cell(text: str) -> str:
    """Return a text as it may stand in a cell: with a mark before it where a spreadsheet would take it for a formula."""
    return _MARK + text if _is_dangerous(text) else text


def text_of(written: str) -> str:
    """Return the text that `cell` was given; what was written by somebody else is left as it is."""
    return written[1:] if written.startswith(_MARK) and _is_dangerous(written) else written


def _is_dangerous(text: str) -> bool:
    """Also of a text with marks of its own, so that reading takes away no more than writing put there."""
    return text.lstrip(_MARK).startswith(_BEGINS_A_FORMULA)
