"""The image endpoint: uploads, and the threads that decode them."""
