"""SAR images and AlphaEarth embeddings: reading, scaling, priors. Needs neither torch nor transformers."""
