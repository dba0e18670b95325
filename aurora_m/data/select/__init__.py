"""The language of `keep`, its rules, which documents stay, and how these are rewritten."""
