"""The fake provider: a real HTTP server on this machine that plays the teachers of a recipe, for nothing."""
