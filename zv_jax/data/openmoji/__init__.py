"""The embedded default data set: scenes of OpenMoji pictures with exact facts in en and zh.

Scenes, their drawing, sentences and TFDS builder live here; no readers of other data sets."""
