"""The command `differline`, with `compact` fitting its local model for seconds: for stories in which any model will do."""

from dataclasses import replace

from infra.cli import main
from trainer.presets import COMPACT, PRESETS, LocalRecipe

PRESETS[COMPACT.name] = replace(COMPACT, local=replace(LocalRecipe(), few=16, twins=48, steps=60))

if __name__ == "__main__":
    main()
