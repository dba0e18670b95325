"""Documents: read, measured, decided on and rewritten; columns stand beside texts, and nothing leaves uncounted."""
