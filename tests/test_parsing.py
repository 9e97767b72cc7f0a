"""What a parser says, made plain."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from vit.parsing import add_model_and_images, command_parser, explain_error

KNOWN = ["model", "model.vit.patch_size", "model.vit.image_size", "trainer.max_epochs", "data.batch_size", "top-k"]


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        (
            "unrecognized arguments: --trainer.max_epoch 3",
            "there is no flag --trainer.max_epoch; did you mean '--trainer.max_epochs'?",
        ),
        ("unrecognized arguments: --top_k", "there is no flag --top_k; did you mean '--top-k'?"),
        ("unrecognized arguments: --zzz", "there is no flag --zzz; --help lists all."),
        (
            "Option 'model.vit.patchsize' is not accepted",
            "there is no option 'model.vit.patchsize'; did you mean 'model.vit.patch_size'?",
        ),
        (
            "Group 'data' does not accept option 'batchsize'",
            "there is no option 'data.batchsize'; did you mean 'data.batch_size'?",
        ),
        (
            "Parser key \"data.batch_size\": Expected a <class 'int'>. Got value: many",
            "data.batch_size=many is not of its type; expected int.",
        ),
        (
            "Parser key \"fills\" element 2: Expected a typing.Literal['black', 'drop']. Got value: white",
            "fills=white is not of its type; expected one of 'black', 'drop'.",
        ),
        (
            "Parser key \"export\": Expected a typing.Literal['best', 'last']. Got value: worst",
            "export=worst is not of its type; expected one of 'best', 'last'.",
        ),
        (
            "Parser key \"export\": Expected a typing.Literal['best', 'last']. Got value: lats",
            "export=lats is not known; did you mean 'last'?",
        ),
        (
            'Parser key "trainer.precision": Does not validate against any of the Union subtypes\n'
            "Subtypes: [typing.Literal['auto', '32-true', 32, 'bf16-mixed'], <class 'NoneType'>]\n"
            "Errors:\n- Expected a\nGiven value type: <class 'str'>\nGiven value: bf17-mixed",
            "trainer.precision=bf17-mixed is not known; did you mean 'bf16-mixed'?",
        ),
        (
            'Parser key "trainer.callbacks": - Expected a path but NoSuch either not accessible or invalid\n- Does not',
            "trainer.callbacks=NoSuch names no class; Lightning's go by their name, others as package.module.Class.",
        ),
        (
            'Parser key "trainer.logger": Does not validate against any of the Union subtypes\n'
            "Subtypes: [<class 'bool'>, <class 'NoneType'>]\nErrors:\n- Expected a <class 'bool'>\n"
            "Given value type: <class 'x'>\nGiven value: Namespace(class_path='a.b.TensorBoardLogger', init_args=1)",
            "trainer.logger=TensorBoardLogger lacks a value that it needs, or has a wrong one; "
            "--trainer.logger.help TensorBoardLogger lists them.",
        ),
        (
            'Parser key "trainer.max_epochs": Does not validate against any of the Union subtypes\n'
            "Subtypes: [<class 'int'>, <class 'NoneType'>]\nErrors:\n- Expected a <class 'int'>\n"
            "Given value type: <class 'str'>\nGiven value: many",
            "trainer.max_epochs=many is not of its type; expected int or null.",
        ),
        (
            "Does not validate against any of the Union subtypes\nSubtypes: [<class 'bool'>]\nErrors:\n"
            "- Problem with given class_path 'lightning.pytorch.loggers.WandbLogger':\n"
            "Requirement 'wandb>=0.12.10' not met. HINT: Try running `pip install -U 'wandb>=0.12.10'`",
            "WandbLogger needs the package wandb, which is not installed: pip install wandb.",
        ),
        ("the following arguments are required: images, model", "missing: images, --model; --help says what for."),
        ("something else\n   over lines", "something else over lines"),
    ],
)
def test_a_message_is_made_one_plain_sentence(said: str, plain: str) -> None:
    assert explain_error(said, KNOWN) == plain


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.png", "--model", "m", "--devise", "cpu"], r"there is no flag --devise; did you mean '--device'\?"),
        (
            ["a.png", "--mod", "m"],
            r"missing: --model|there is no flag --mod; did you mean '--model'",
        ),  # never taken for --model
        (["--model", "m"], r"missing: images"),
    ],
)
def test_a_command_refuses_what_it_does_not_know(arguments: list[str], sentence: str) -> None:
    parser = command_parser("predict", "Label images.")
    add_model_and_images(parser)
    with pytest.raises(ArgumentError, match=sentence):
        parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"- a\n- b\n", "c.yaml holds a list; a config is keys and values, such as seed_everything: 0."),
        (b"", "c.yaml holds nothing; a config is keys and values"),
        (b"a word\n", "c.yaml holds a single value; a config is keys and values"),
        (b"top_k: [1\nx: 2\n", "c.yaml, line 2, column 2 is no YAML: "),
        (b"\x89PNG\r\n", "c.yaml is no text; a config is YAML"),
        (b"a: \x07\n", "c.yaml is no YAML: unacceptable character"),
    ],
)
def test_a_file_that_is_no_config_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    parser = command_parser("predict", "Label images.")
    parser.add_argument("--config", action="config")
    parser.add_argument("--top_k", type=int, default=1)
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ArgumentError) as refused:
        parser.parse_args(["--config", str(tmp_path / "c.yaml")])
    assert str(refused.value).startswith(f"config file {tmp_path}")
    assert sentence in str(refused.value)
    (tmp_path / "c.yaml").write_bytes(b"top_k: 3\n")
    assert parser.parse_args(["--config", str(tmp_path / "c.yaml")]).top_k == 3
