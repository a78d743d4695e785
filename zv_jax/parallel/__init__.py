"""Devices: the mesh, how arrays lie on it, the processes of a job, what chips can do.

It takes numbers and names; no model and no configuration of a run belongs here.
"""
