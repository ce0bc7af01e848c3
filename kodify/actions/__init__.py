"""What is done to code on demand: prompts that an administrator edits, and the model's answers as code and diffs."""

from kodify.actions.action import Action, Messages, Shown
from kodify.actions.catalogue import SHIPPED, Actions, problem
from kodify.actions.fitting import Fitted, fit
from kodify.actions.job import make_job
from kodify.actions.outcome import Outcome, conclude
from kodify.actions.subject import Subject

__all__ = [
    "SHIPPED",
    "Action",
    "Actions",
    "Fitted",
    "Messages",
    "Outcome",
    "Shown",
    "Subject",
    "conclude",
    "fit",
    "make_job",
    "problem",
]
