"""Quantisation-aware training: fake-quantised weights and activations in the forward pass."""
