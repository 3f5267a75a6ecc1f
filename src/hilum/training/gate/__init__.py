"""Training of the gate's eye, from simulated pictures alone: ``python -m hilum.training.gate``."""
