"""The paper's tables and figures, measured: `differline evaluate DIR --paper`, protocols first that mean something.

labelled     the pictures, their classes, groups and masks
splits       who is learned from, who is tested
store        arrays on disk, by what they were made of
bank         features of many views, extracted once
controls     what a picture tells without any network
ganomaly     GANomaly as a row, by anomalib where it is installed
bench        flows, whole detectors and baselines on a split
experiments  everything that is measured, as outcomes
multimodal   several products in one flow
outcomes     what one scoring of one test set gave; AUROC and recalls, mean and spread
pixels       pixel AUROC and AUPRO of heatmaps
results      the tables
charts       figures 5 to 7
gallery      figure 8
report       all of it as Markdown
run          put together
"""
