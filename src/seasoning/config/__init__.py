"""Settings as frozen values: from text, with every mistake named before any work starts; no torch."""

from seasoning.config.base import Spec, read_spec, resolve
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.search import SearchPlan, make_plan, read_plan
from seasoning.config.train import RecipeSpec, find_recipe, plan_files, read_recipe_file, recipe_files


__all__ = [
    "EvaluateSpec",
    "RecipeSpec",
    "SearchPlan",
    "Spec",
    "find_recipe",
    "make_plan",
    "plan_files",
    "read_plan",
    "read_recipe_file",
    "read_spec",
    "recipe_files",
    "resolve",
]
