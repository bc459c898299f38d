"""Decision rules on the phone: when it reranks, asks the cloud for a page, or holds still."""
