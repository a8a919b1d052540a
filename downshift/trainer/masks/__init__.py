"""Masks: allocation of sparsity, pruning and regrowth, and when they change."""
