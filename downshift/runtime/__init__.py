"""Inference without torch: artifact, engines, profile, policies, scheduler."""
