"""`differline curate`, `refit`, `schedule`, `models` and `replay`: where the life of a model is put together."""

from trainer.life.commands.curate import curate_app
from trainer.life.commands.models import models_app
from trainer.life.commands.refit import refit_app
from trainer.life.commands.replay import replay_app
from trainer.life.commands.schedule import schedule_app

__all__ = ["curate_app", "models_app", "refit_app", "replay_app", "schedule_app"]
