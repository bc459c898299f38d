"""The context-aware reranker and its beam search."""
