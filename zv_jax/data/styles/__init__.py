"""Scenes of the embedded data set in drawing styles that no training has seen.

`iconify` reads packages that a user fetched; `scenes` draws from them. No drawing of others lies in
this project, and none may be committed to it."""
