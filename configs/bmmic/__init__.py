"""Recipes of `zv bmmic`: what is made of which images and records, by which model, how filtered."""
