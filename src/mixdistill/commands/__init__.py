"""What the verbs besides the stages do: one module a verb, and what several of them share."""
