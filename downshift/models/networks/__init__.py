"""Plain torch networks, one family per file; `downshift.models.network` names and builds them."""
