"""Where completions come from: classes with one method, `generate(requests) -> Iterator[(position, Completion)]`."""
