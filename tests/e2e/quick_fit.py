"""The command `differline`, with `compact` looking at few views and fitting its local model for seconds: any model will do.

The commands that it starts are this program as well.
"""

import sys
from dataclasses import replace

import infra.children
from infra.cli import main
from trainer.presets import COMPACT, PRESETS, LocalRecipe

LOCAL = replace(LocalRecipe(), few=16, twins=48, steps=60)
PRESETS[COMPACT.name] = replace(COMPACT, bank_views=2, epoch_views=2, epochs=40, local=LOCAL)
infra.children.differline = lambda *arguments: [sys.executable, __file__, *arguments]

if __name__ == "__main__":
    main()
