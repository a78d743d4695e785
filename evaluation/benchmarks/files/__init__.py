"""One file a benchmark; its hash is part of every score, so a change is another benchmark."""
