"""Networks, the supernet, and the artifact that a training run hands over."""
