"""mixdistill: which reasoning traces teach your small model, with error bars."""

__version__ = "0.1.0"
