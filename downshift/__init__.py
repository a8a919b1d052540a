"""Dynamic inference: one sparse supernet, trained once, served at many speeds."""
