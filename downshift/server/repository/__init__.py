"""The artifacts behind the catalog: found, loaded beside what is served, switched, watched, controlled."""
