"""Training of the embedded reader, from phantoms alone: ``python -m hilum.training.embedded``."""
