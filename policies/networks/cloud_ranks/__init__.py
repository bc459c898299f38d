"""The cloud's rankers of EdgeRec's table: DNN-rank and DLCM."""
