"""NVIDIA GPUs: which there are, what they are doing, and the libraries that computing on them needs."""
