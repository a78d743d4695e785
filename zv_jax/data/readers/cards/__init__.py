"""One card per data set: source, licence, files, published counts, which splits evaluate."""
