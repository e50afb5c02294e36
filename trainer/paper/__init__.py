"""The paper's tables and figures, measured: `differline evaluate DIR --paper`, protocols first that mean something.

labelled   the pictures, their classes, groups and masks          splits      who is learned from, who is tested
store      arrays on disk by what they were made of               bank        features of many views, extracted once
controls   what a picture tells without any network               bench       flows and baselines on a split
experiments  everything that is measured, as outcomes             outcomes    what one scoring of one test set gave
figures    AUROC and recalls, mean and spread                     pixels      pixel AUROC and AUPRO of heatmaps
charts, gallery  the plots                                        report      all of it as Markdown
"""
