"""EdgeRec: encoders of behaviour, and the reranker."""
