"""Plain torch networks, one family per file; `models.network` names and builds them."""
