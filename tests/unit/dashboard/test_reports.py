"""A report as a page shows it: Markdown where it is ours, text where anything in it could do more than be read."""

import pytest

from dashboard.reports import shown_report

OURS = """# tile: a candidate

Why now: 2 drift alarms since version 1.

**Before you read on**

- pictures of the same production run (job 7 and 2 more) are learned from and calibrated on

## What it learned from

| camera | pictures |
| --- | --- |
| \\<script\\>alert\\(1\\)\\</script\\> \\| \\[x\\]\\(y\\) | 16 |

![Scores of held-out good pictures and of challenge parts, and the threshold.](report.png)

takes a folder with `test/<class>`, at 2026-03-01 12:30:05
"""


def test_our_own_report_is_markdown_without_its_title_and_its_picture() -> None:
    text, markdown = shown_report(OURS)
    assert markdown
    assert text.startswith("Why now: 2 drift alarms")
    assert "##### What it learned from" in text
    assert "report.png" not in text
    assert "\\<script\\>" in text  # what is escaped stays so


@pytest.mark.parametrize(
    "bad",
    [
        "<img src=x>",
        "![](http://x/y.png)",
        "![x](report.png) ",  # not alone on its line
        "[click](javascript:x)",
        "$\\frac{1}{2}$",
        ":red[x]",
        ":material/home:",
        "&lt;b",
        "&#60;",
        "see https://x.example",
        "www.x.example",
        "[ref]: x",
        "\\\\<b>",
    ],
)
def test_what_could_do_more_than_be_read_is_text(bad: str) -> None:
    text, markdown = shown_report(f"# part {bad}\n\n{bad} more\n")
    assert text == f"{bad} more"
    assert not markdown
