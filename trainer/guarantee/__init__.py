"""`differline guarantee`: is the false-alarm rate what the threshold promises? Measured on defect-free pictures alone."""
