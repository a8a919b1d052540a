"""The V2 (Open Inference Protocol) endpoints and what they read and write."""
