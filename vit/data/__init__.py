"""disk -> (images, labels): what the model is trained on and what it is shown.

    decode.py      image file -> picture: the one decoder, for training, prediction and explanation
    preprocess.py  picture -> the image a model knows
    sources/       digits, CIFAR, folders, tables, shards -> classes, training, validation and test images
    augment.py     random changes of training images: the settings, and covering a rectangle
    order.py       seed, epoch -> which images, in which order, on which device
    loaders.py     an order, images -> batches
    held.py        images held on the training device -> batches, by lookup
    crops.py       shifts and mirroring, in that lookup
    cache.py       image files -> pixels decoded once and kept, in shared memory or on disk
    policy.py      the RandAugment family, a batch at a time
    on_device.py   what is done to a batch on the device, put together
    photographs.py image files -> images changed one by one, in the workers
    mix.py         a batch -> mixup, CutMix
    balance.py     labels -> weights of classes
    module.py      ImageDataModule: splits, batches, normalisation on the device

    fingerprint.py, jpeg_warnings.py, readers.py, listing.py, duplicates.py, check.py, summary.py
                   what is wrong with the images
    show.py        a picture of a training batch

Import from the files: reading a picture must not cost the import of torchvision and lightning.
"""
