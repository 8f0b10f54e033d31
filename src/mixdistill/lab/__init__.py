"""The offline world: generated problems with a verifier, scripted and tiny teachers, tiny students."""
