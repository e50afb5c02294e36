"""Options that several commands of ingest share."""

from typing import Annotated

import typer

CameraOption = Annotated[str, typer.Option("--camera", help="Name of the camera; its frames stay in order.")]
ProductOption = Annotated[str, typer.Option("--product", help="What is on the pictures; chooses the model.")]
JobOption = Annotated[str | None, typer.Option("--job", help="Job or order that the frames belong to.")]
SpoolOption = Annotated[
    bool | None,
    typer.Option(
        "--spool/--no-spool", help="Keep frames on disk while the bus is away.", show_default="live cameras do"
    ),
]
FpsOption = Annotated[
    float | None, typer.Option("--fps", help="Frames a second at most.", show_default="as fast as the bus takes them")
]
LiveFpsOption = Annotated[
    float | None, typer.Option("--fps", help="Take so many frames a second at most.", show_default="all that come")
]
EveryOption = Annotated[
    int | None, typer.Option("--every", metavar="N", help="Take every N-th frame.", show_default="1")
]
TriggerOption = Annotated[
    str | None,
    typer.Option(
        "--trigger",
        metavar="PIPE",
        help="Take one frame for each line that comes in this named pipe (- : on standard input): the part's id, and after "
        "a tab its job.",
    ),
]
RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="X,Y,WIDTH,HEIGHT", help="Send this part of the picture, in pixels.")
]
SizeOption = Annotated[
    str | None, typer.Option("--size", metavar="WIDTHxHEIGHT", help="Resize the picture, after --region.")
]
QualityOption = Annotated[
    int | None, typer.Option("--jpeg-quality", help="Quality of the JPEG, 1 to 100.", show_default="95")
]
PngOption = Annotated[bool | None, typer.Option("--png", help="Send PNG, without loss, instead of JPEG.")]
PartCodeOption = Annotated[
    str | None,
    typer.Option("--part-code", metavar="qr|barcode", help="Read the part's id from a code anywhere in the picture."),
]
PartPatternOption = Annotated[
    str | None,
    typer.Option(
        "--part-pattern",
        metavar="REGEX",
        help="Read the part's id, the job or both from a file's path below DIR, such as '(?P<job>[^/]+)/(?P<part>[0-9]+)_'.",
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout-s", help="How long the camera may take to open, and between frames.", show_default="5"),
]
