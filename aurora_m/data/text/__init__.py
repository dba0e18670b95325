"""What all wings know of text: characters, words, languages, repair; and how kernels are compiled."""
