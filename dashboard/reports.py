"""A model's report, as a page may show it: Markdown that the trainer wrote, with names in it that came from outside.

The trainer escapes those names. Reports of before did not escape all of them, and a registry may have been written by others:
what could load, link or run anything is no sentence or table of ours, and is shown as the text that it is.
"""

import re

_PICTURE = re.compile(r"^!\[[^\]\[]*\]\(report\.png\)$", re.MULTILINE)
_ACTIVE = re.compile(
    r"[<$\[\]]"  # a tag, a formula, a link, a picture, a coloured text
    r"|&#?\w+;"  # an entity
    r"|://|\bwww\."  # what becomes a link by itself
    r"|:material/"
)
_ESCAPED = re.compile(r"\\[!-/:-@\[-`{-~]")
_OURS = "`test/<class>`"  # stands in our own sentence about challenge parts, as code


def shown_report(report: str) -> tuple[str, bool]:
    """Return a report as it is to be shown, and whether it may be read as Markdown.

    Its title and the picture in the model's folder are left out: the page has its own.
    """
    text = _PICTURE.sub("", report)
    if text.startswith("# "):
        text = text.partition("\n")[2]
    if _ACTIVE.search(_ESCAPED.sub(" ", text.replace(_OURS, ""))):
        return text.strip(), False
    return re.sub(r"^## ", "##### ", text, flags=re.MULTILINE).strip(), True
