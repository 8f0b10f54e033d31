"""What a run folder shows: rows of evidence, gaps, intervals, verdicts and what could have fooled them."""
