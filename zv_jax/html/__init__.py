"""Markup and charts of every page that the program writes.

Nothing here knows what a page is about.
"""
