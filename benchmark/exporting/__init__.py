"""Export: a run made into one model that holds its preprocessing, and the predictions of such a model."""
