"""The command `differline`, with `compact` fitting its local model for seconds: for stories in which any model will do.

The commands that it starts are this program as well.
"""

import sys
from dataclasses import replace

import infra.children
from infra.cli import main
from trainer.presets import COMPACT, PRESETS, LocalRecipe

PRESETS[COMPACT.name] = replace(COMPACT, local=replace(LocalRecipe(), few=16, twins=48, steps=60))
infra.children.differline = lambda *arguments: [sys.executable, __file__, *arguments]

if __name__ == "__main__":
    main()
