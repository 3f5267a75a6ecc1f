"""Phantom: a simulated frontal chest radiograph with known truth.

For tests, demonstrations and quality control; never clinical.
"""
