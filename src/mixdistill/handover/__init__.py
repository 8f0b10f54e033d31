"""What is handed over with a student or a data set: cards, configurations, the gate."""
