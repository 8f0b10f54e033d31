"""What `mix` draws a training set with."""
