"""`zv config`: recipes, explained."""

USAGE = """
usage: zv config show --config FILE[:ARG]   a recipe with every field resolved
"""
SUBCOMMANDS = ("show",)
