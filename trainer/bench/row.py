"""What a row of the benchmark is."""

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """What was measured; the figures behind the ratio are a subclass's.

    Attributes:
        device: Where: `cpu`, or what the GPU is called.
        ratio: The figure that has a bar to reach.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    ratio: float

    def figures(self) -> str:
        """What was found, as one cell of a table."""
        return f"{self.ratio:.2f}"

    def details(self) -> list[str]:
        """The rates behind it, as lines of Markdown."""
        return []


class NotMeasured(BaseModel):
    """A row that this machine or installation cannot measure.

    Attributes:
        not_measured: Why.
    """

    model_config = ConfigDict(frozen=True)

    not_measured: str


class NotMeasuredError(Exception):
    """A row cannot be measured here; its text is the reason."""
