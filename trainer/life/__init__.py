"""The life of a model: from what people released, through a candidate and its report, into force, and back."""
