"""What this machine does, as ratios: `differline bench`, rows P1 to P7. Every row works on encoded pictures.

tables          Markdown tables
machine         which machine it was
pictures        the pictures: of a folder in MVTec AD layout, or drawn
sizes           how much is measured
setting         pictures, extractor and device, and the detectors that the rows share
timing          rounds in alternating order, medians
scoring         our side: encoded bytes to scores
plain           the other side: the loop as the paper's reference implementation has it
row             what a row is
plain_scoring   P1, against the plain loop
floor           P2, against what the multiply-adds cost alone
frontier        P3, against anomalib's detectors
early_exit      P4, all views against early exit
plain_training  P5, against the plain training loop
stages          P6, where a scorer's time goes
workers         P7, several processes that share the cores
report          all of it as JSON and as Markdown
run             put together
"""
