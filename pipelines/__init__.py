"""The demos: one module each, with a build() that describes the pipeline and a thin main(); ``python -m pipelines.<name>``."""
