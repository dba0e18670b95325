"""Signals: columns that say what a document is like."""
