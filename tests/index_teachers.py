from hf_ctkd.records import TeacherCandidate


def teacher(name: str, labels: list[str] | None, **settings) -> TeacherCandidate:
    names = None if labels is None else tuple(labels)
    return TeacherCandidate(f"org/{name}", "0" * 40, label_names=names, **settings)
