"""What exists only because no open weights do: a small model's own beginning, stage by stage.

Nothing of the paper's model, its losses or its stages belongs here.
"""
