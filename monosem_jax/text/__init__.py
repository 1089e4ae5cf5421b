"""Text to tokens: readers, tokenizer, packed contexts, batches, and the bigram baseline."""
