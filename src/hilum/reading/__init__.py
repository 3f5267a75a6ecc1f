"""Study to Report: the gate, the reader, its probabilities, and pictures of what it saw."""
