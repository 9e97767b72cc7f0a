"""logits -> loss -> step: training, through Lightning.

recipe.py      Recipe: optimiser, parameter groups, learning rate schedule
classifier.py  Classifier: the LightningModule; loss and metrics
callbacks.py   what happens beside the training: progress lines, timing, the model folder
folder.py      a new folder for every run
run.py         YAML and flags -> a run: trainer, classifier and data, in a folder of its own
evaluate.py    a finished run -> its accuracy on the test images
"""
