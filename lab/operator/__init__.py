"""The operator on a CPU: graphs (forms that only the study runs), study (times, memory, growth, chart)."""
