from teacher_fixtures import bert, images, resnet, rows, teacher, texts  # noqa: F401
