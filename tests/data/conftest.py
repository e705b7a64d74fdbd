from teacher_fixtures import bert, images, resnet, texts  # noqa: F401
