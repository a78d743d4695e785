"""Records, readers, templates, images, tokenizers, mixing, pipeline: files in, numpy batches out.

Nothing here may import jax or know about models, objectives, meshes or stages."""
