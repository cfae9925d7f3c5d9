"""SCIO: captions whose parts are screened, proofread and reconstructed by models that were fitted on other places."""
