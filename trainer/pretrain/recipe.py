"""The recipe: every number that a pretraining run depends on, beside its seed."""

from pydantic import BaseModel, ConfigDict


class Recipe(BaseModel):
    """How to pretrain. A checkpoint holds it, and a run is continued with the same one only.

    The weights of the four losses were set so that their gradients on the convolutions are of one size: telling programs apart
    pulls ten times harder than finding defects does, and drowned it when all weights were one.

    Attributes:
        programs_per_family: Classes that each family gives.
        pictures_per_program: Pictures of a class that are drawn into the bank.
        bank_px: Side of a drawn picture.
        sizes_px: Side of the crops, step by step in turn: the detector looks at a picture at three scales.
        programs_per_step: Programs of a step at the smallest side; larger crops make fewer of them.
        programs_alike: So many of them in turn are of one family, so that small differences matter.
        support: Defect-free pictures of a program and step that stand for what is known of it.
        queries: Further defect-free ones.
        defective: Defective twins of the queries.
        learning_rate: AdamW's, at its highest.
        weight_decay: AdamW's.
        warm_up: Share of the run in which the learning rate rises; after it a half cosine leads to zero.
        class_weight: Weight of telling programs apart.
        picture_weight: Weight of finding out whether a picture has a defect, from its pooled features.
        position_weight: Weight of finding the positions of a defect.
        novelty_weight: Weight of the defective being farther from the support than the defect-free queries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    programs_per_family: int = 120
    pictures_per_program: int = 8
    bank_px: int = 224
    sizes_px: tuple[int, ...] = (112, 112, 112, 112, 224)
    programs_per_step: int = 20
    programs_alike: int = 2
    support: int = 3
    queries: int = 1
    defective: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: float = 0.02
    class_weight: float = 0.3
    picture_weight: float = 6.0
    position_weight: float = 8.0
    novelty_weight: float = 0.2

    @property
    def pictures_per_episode(self) -> int:
        """Pictures of one program in a step."""
        return self.support + self.queries + self.defective

    def size_px(self, step: int) -> int:
        """Side of the crops of a step."""
        return self.sizes_px[step % len(self.sizes_px)]

    def programs(self, step: int) -> int:
        """Programs of a step: half as many at twice the side, so that a step costs at most twice as much."""
        return max(2, self.programs_per_step * min(self.sizes_px) // self.size_px(step))
