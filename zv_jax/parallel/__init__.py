"""Devices: the mesh, sharding, the processes of a job, the speed and memory of chips.

Takes numbers and names; no model and no configuration of a run belongs here.
"""
