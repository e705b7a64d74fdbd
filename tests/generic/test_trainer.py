import json
import re

import pytest
import tiny
import tiny_dense
import torch
from pools import POOLS, TEXT_CLASSES, teacher
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BartConfig,
    BartForSequenceClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
)

from hf_ctkd.cards import publishable_files, write_card
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import GenericTeacherConfig, GenericTeacherTrainer, StudentPool
from hf_ctkd.generic.conditioning import TeacherWithBranches
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import KLLoss
from hf_ctkd.records import DistillationRecord
from hf_ctkd.training import DistillationConfig, DistillationTrainer

POOL = POOLS["resnet"]


def trainer(config, pool=POOL, model=None, **changes):
    settings = {
        "train_dataset": tiny.image_rows(), "eval_dataset": tiny.image_rows(12, seed=5),
        "processing_class": tiny.processor(32), **changes,
    }  # fmt: skip
    if "model_init" not in settings:
        settings["model"] = teacher("resnet") if model is None else model
    return GenericTeacherTrainer(args=config, pool=pool, **settings)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_every_term_and_the_paths_are_logged(config):
    made = trainer(config())
    made.train()
    first = made.state.log_history[0]
    terms = ("task_loss", "branch_ce", "branch_kl", "architecture_loss", "entropy_loss")
    assert all(name in first for name in (*terms, "path_entropy", "path/width of stage 1/4", "path/depth of stage 3/2"))
    assert first["loss"] == pytest.approx(sum(first[name] for name in terms), abs=1e-4)


def test_the_teacher_learns_to_agree_with_its_branches(config):
    made = trainer(config(max_steps=60))
    made.train()
    logs = [entry for entry in made.state.log_history if "branch_kl" in entry]
    for name in ("task_loss", "branch_ce", "branch_kl"):
        early, late = (sum(entry[name] for entry in part) for part in (logs[:5], logs[-5:]))
        assert late < 0.8 * early, name


def test_teacher_branches_and_paths_all_move(config):
    made = trainer(config())
    before = weights(made.student_with_loss)
    made.train()
    after = made.student_with_loss.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for start in (
        "student.resnet.encoder",
        "loss.supernet.shared.resnet.encoder.stages.2",
        "loss.adapters.0",
        "loss.paths",
    ):
        assert any(name.startswith(start) for name in moved), start
    assert "loss.paths.logits.0" not in moved
    stem = "loss.supernet.shared.resnet.embedder.embedder.convolution.weight"
    assert stem in before and stem not in moved, "branches begin behind the first stage"


def test_the_wrapped_module_is_teacher_and_branches_as_one(config):
    made = trainer(config())
    assert isinstance(made.student_with_loss, TeacherWithBranches) and made.student_with_loss.student is made.teacher
    assert {id(one) for one in made.conditioning.parameters()} < {id(one) for one in made.model.parameters()}


def test_paths_have_a_rate_of_their_own_and_no_decay(config):
    made = trainer(config(path_learning_rate=0.5, weight_decay=0.3))
    groups = made.create_optimizer().param_groups
    logits = {id(one) for one in made.conditioning.paths.parameters() if one.requires_grad}
    assert [{id(one) for one in group["params"]} == logits for group in groups] == [False, False, True]
    assert (groups[-1]["lr"], groups[-1]["weight_decay"]) == (0.5, 0.0) and groups[0]["weight_decay"] == 0.3
    held = [id(one) for group in groups for one in group["params"]]
    assert len(held) == len(set(held)) == len([one for one in made.student_with_loss.parameters() if one.requires_grad])


def test_an_optimizer_of_the_users_own_is_left_as_it_is(config):
    given = {}

    class Ready(GenericTeacherTrainer):
        def create_optimizer(self, model=None):
            self.optimizer = self.optimizer or torch.optim.SGD(self.student_with_loss.parameters(), lr=0.1)
            given["groups"] = len(self.optimizer.param_groups)
            return super().create_optimizer(model)

    made = Ready(
        teacher("resnet"),
        config(max_steps=1),
        pool=POOL,
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(32),
    )
    made.train()
    assert given["groups"] == len(made.optimizer.param_groups) == 1


@pytest.mark.parametrize("sampler", ["gumbel", "categorical", "uniform"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(sampler, config, tmp_path):
    settings = {"path_sampler": sampler, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = trainer(config(output_dir=str(tmp_path / "whole"), **settings))
    whole.train()
    resumed = trainer(config(output_dir=str(tmp_path / "resumed"), **settings), model=teacher("resnet"))
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    one, two = whole.student_with_loss.state_dict(), resumed.student_with_loss.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert int(one["loss.drawn"]) == 12
    first = next(entry for entry in resumed.state.log_history if entry["step"] == 4)
    assert first == pytest.approx(next(entry for entry in whole.state.log_history if entry["step"] == 4), abs=1e-5)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Of a teacher for the pool and of a plain one."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, pool in (("pool", POOL), ("plain", None)):
        made = trainer(
            GenericTeacherConfig(
                str(folder / name), max_steps=1, save_steps=1, per_device_train_batch_size=8, use_cpu=True,
                disable_tqdm=True, bootstrap_resamples=0,
            ), pool=pool,
        )  # fmt: skip
        made.train()
    return {name: folder / name / "checkpoint-1" for name in ("pool", "plain")}


@pytest.mark.parametrize(
    ("checkpoint", "pool", "said"),
    [
        ("pool", StudentPool("resnet", ((1, 2), (1, 2), (1, 2)), widths=POOL.widths, input_size=32), "pool.json'"),
        (
            "pool",
            StudentPool("resnet", ((1, 2), (2, 3), (1, 2)), widths=POOL.widths, input_size=32),
            "Load it with `Stu",
        ),
        ("pool", None, "or start a new run."),
        ("plain", POOL, "It has none: leave it out, or start a new run."),
    ],
    ids=["smaller", "as large", "none", "one too many"],
)
def test_a_checkpoint_for_another_pool_is_refused(checkpoints, checkpoint, pool, said, config):
    made = trainer(config(max_steps=2), pool=pool)
    with pytest.raises(InvalidArgumentError, match=re.escape("`pool` must be that of the checkpoint ")) as error:
        made.train(resume_from_checkpoint=str(checkpoints[checkpoint]))
    assert said in str(error.value)


def test_the_published_folder_holds_the_teacher_alone(config, tmp_path):
    made = trainer(config())
    made.train()
    made.evaluate()
    made.save_model()
    folder = tmp_path / "teacher"
    opened = AutoModelForImageClassification.from_pretrained(folder)
    assert weights(opened).keys() == weights(made.teacher).keys()
    assert all(torch.equal(tensor, made.teacher.state_dict()[name]) for name, tensor in weights(opened).items())
    AutoImageProcessor.from_pretrained(folder)
    assert not [name for name in publishable_files(folder) if "loss" in name]
    record = DistillationRecord.load(folder / "distillation.json")
    assert StudentPool.from_dict(record.pool.description) == POOL and record.pool.members == len(POOL)
    assert sum(record.pool.probabilities["width of stage 2"]) == pytest.approx(1.0)
    assert record.loss.name == "generic-teacher" and record.loss.settings["paths_per_step"] == 2
    card = write_card(folder).read_text()
    assert f"a pool of {len(POOL)} architectures of the family resnet" in card
    assert "| depth of stage 1 | 1 (0.50), 2 (0.50) |" in card and "generic-teacher" in card.partition("---\n\n")[0]


def test_a_student_of_the_pool_is_distilled_from_it_as_from_any_teacher(config, tmp_path):
    made = trainer(config(max_steps=2))
    made.train()
    made.save_model()
    member = POOL.sample(1, seed=0)[0]
    student = DistillationTrainer(
        member.build(made.train_dataset.rows.label_space),
        DistillationConfig(str(tmp_path / "student"), max_steps=2, use_cpu=True, disable_tqdm=True, save_strategy="no",
                           cache_dir=str(tmp_path / "cache")),
        teachers=list(folder_teachers(tmp_path / "teacher")), loss=KLLoss(), train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(32),
    )  # fmt: skip
    student.train()
    assert student.record().teachers[0].candidate.name == "teacher"


def test_without_a_pool_it_is_a_plain_teacher(config):
    made = trainer(config(), pool=None)
    made.train()
    assert made.conditioning is None and "branch_ce" not in made.state.log_history[0]
    plain = DistillationTrainer(
        teacher("resnet"), config(), train_dataset=tiny.image_rows(), processing_class=tiny.processor(32)
    )
    plain.train()
    one, two = made.teacher.state_dict(), plain.student.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert made.record().pool is None


def test_a_pool_of_one_student_is_a_teacher_for_that_student(config):
    member = POOL.sample(1, seed=2)[0]
    made = trainer(config(), pool=POOL.only(member))
    made.train()
    assert made.conditioning.supernet.shared.config.hidden_sizes == list(member.shape.widths)
    assert made.record().pool.members == 1 and "path_entropy" not in made.state.log_history[0]


def test_texts(config, tmp_path):
    pool = POOLS["bert"]
    made = GenericTeacherTrainer(
        teacher("bert", TEXT_CLASSES), config(), pool=pool, train_dataset=tiny.text_rows(),
        eval_dataset=tiny.text_rows(12), processing_class=tiny.tokenizer(),
    )  # fmt: skip
    made.train()
    assert made.evaluate()["eval_accuracy"] >= 0
    made.save_model()
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")
    assert (
        json.loads((tmp_path / "teacher" / "distillation.json").read_text())["pool"]["description"]["family"] == "bert"
    )


@pytest.mark.parametrize("family", ["convnext", "vit"])
def test_other_families_of_images(family, config):
    made = trainer(config(), pool=POOLS[family], model=teacher(family), processing_class=tiny.processor(16))
    made.train()
    assert all(torch.isfinite(tensor).all() for tensor in made.student_with_loss.state_dict().values())


def test_a_teacher_of_another_family_of_maps_serves_too(config):
    made = trainer(config(), pool=POOLS["convnext"], model=teacher("resnet"))
    made.train()
    assert made.state.global_step == 4


def test_model_init_makes_teacher_and_branches_anew(config):
    made = trainer(config(), model_init=lambda: teacher("resnet"))
    made.train()
    first = weights(made.student_with_loss)
    made.train()
    assert all(torch.equal(first[name], tensor) for name, tensor in made.student_with_loss.state_dict().items())


def test_evaluation_is_the_teachers_alone(config):
    made = trainer(config(), pool=POOL)
    plain = trainer(config(), pool=None)
    plain.teacher.load_state_dict(made.teacher.state_dict())
    assert made.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], abs=1e-6)
    assert int(made.conditioning.drawn) == 0


def test_rows_of_another_kind_are_refused(config):
    with pytest.raises(
        InvalidArgumentError, match="`pool` holds students of image rows, but the data set has text rows."
    ):
        GenericTeacherTrainer(
            teacher("bert", TEXT_CLASSES), config(), pool=POOL, train_dataset=tiny.text_rows(),
            processing_class=tiny.tokenizer(),
        )  # fmt: skip


def test_a_teacher_that_does_not_classify_is_refused(config):
    with pytest.raises(InvalidArgumentError, match="`model` SegformerForSemanticSegmentation must be a classifier."):
        GenericTeacherTrainer(
            tiny_dense.mask_student(), config(cache_student_inputs=False, label_column="mask"),
            train_dataset=tiny_dense.mask_rows(4), processing_class=tiny_dense.processor(),
        )  # fmt: skip


def test_arguments_of_another_trainer_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="`args` must be a GenericTeacherConfig, got DistillationConfig"):
        trainer(DistillationConfig(str(tmp_path), use_cpu=True))


def test_a_teacher_with_fewer_hidden_states_than_its_configuration_tells_is_refused(config):
    shape = {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320, "image_size": 32}
    model = EfficientNetForImageClassification(EfficientNetConfig(**shape, num_labels=3))
    stages = model.config.num_hidden_layers
    said = f"`model` EfficientNetForImageClassification must return a hidden state for each of the {stages} stages"
    with pytest.raises(InvalidArgumentError, match=said):
        trainer(config(), model=model)


def test_a_teacher_of_encoder_and_decoder_is_refused(config):
    tokenizer = tiny.tokenizer()
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    layers = {"d_model": 8, "encoder_layers": 3, "decoder_layers": 3, "max_position_embeddings": 34}
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": tokenizer.convert_tokens_to_ids("the")}
    model = BartForSequenceClassification(BartConfig(**heads, **layers, **tokens, num_labels=2))
    with pytest.raises(
        InvalidArgumentError, match="`model` BartForSequenceClassification has an encoder and a decoder"
    ):
        GenericTeacherTrainer(
            model, config(), pool=POOLS["bert"], train_dataset=tiny.text_rows(), processing_class=tokenizer
        )


def test_the_look_at_a_teacher_s_hidden_states_leaves_it_as_it_was(config):
    model = teacher("resnet").train()
    before = weights(model)
    trainer(config(), model=model)
    assert model.training and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_teacher_in_half_precision_is_refused(config):
    with pytest.raises(InvalidArgumentError, match="must have weights in torch.float32 .* got torch.bfloat16"):
        trainer(config(), model=teacher("resnet").to(torch.bfloat16))


def test_no_model_is_refused(config):
    with pytest.raises(InvalidArgumentError, match="`model` must be the teacher to train, got None."):
        GenericTeacherTrainer(
            args=config(), pool=POOL, train_dataset=tiny.image_rows(), processing_class=tiny.processor(32)
        )


def test_students_start_from_the_trained_branches_or_from_random_weights(config):
    made = trainer(config())
    made.train()
    member = POOL.sample(1, seed=0)[0]
    started, random = made.build_student(member), made.build_student(member, from_branches=False)
    shared = made.conditioning.supernet.shared.classifier[-1].weight
    width = started.classifier[-1].weight.shape[1]
    assert torch.equal(started.classifier[-1].weight, shared[:, :width])
    assert not torch.equal(random.classifier[-1].weight, shared[:, :width])
    stems = (model.resnet.embedder.parameters() for model in (started, random))
    assert all(torch.equal(*pair) for pair in zip(*stems, strict=True))
    with pytest.raises(InvalidArgumentError, match="`member` .* must belong to the `pool` that this teacher"):
        made.build_student(POOLS["convnext"].sample(1, seed=0)[0])
