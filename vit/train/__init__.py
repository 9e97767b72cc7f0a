"""logits -> loss -> step: training, through Lightning.

recipe.py      Recipe: optimiser, parameter groups, learning rate schedule
classifier.py  Classifier: the LightningModule; loss and metrics
callbacks.py   what happens beside the training: progress lines, timing, the model folder
folder.py      a new folder for every run
run.py         YAML and flags -> a run: trainer, classifier and data, in a folder of its own
story.py       what a run was: command, seed, git commit, versions, hardware, data -> run.json
measures.py    log-probabilities, labels -> accuracies, NLL, Brier score, ECE with 95 % intervals
predictions.py model + images -> what it says about each, a row an image
conclude.py    a finished run -> its figures and its report
report/        the files of a run -> pictures, and one page
seeds.py       one recipe with several seeds
plan.py        what a run would take: rehearsal.py cuts it short, largest_batch.py tries sizes, memory.py counts
evaluate.py    a finished run or any model -> its measures on validation or test images, every look at these on record
"""
