"""Pretraining: the extractor's weights, learned from pictures that small programs draw and from nothing else.

A *family* is a kind of picture (gratings, castings, boards), a *program* one member of it with fixed parameters, and a picture
is a program drawn with chance: phase, place, light, noise. Programs are the classes that are told apart; synthetic defects are
what is to be found.
"""
