"""The image endpoint, and the way from a picture's bytes to a network's input."""
