import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from teacher_fixtures import passes  # noqa: E402, F401
from training_fixtures import config, image_teacher, logged, make, text_teacher  # noqa: E402, F401
