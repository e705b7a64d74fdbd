"""`python -m hf_ctkd COMMAND ...`, as `hf-ctkd COMMAND ...`; under `accelerate launch -m hf_ctkd` too."""

import sys

from hf_ctkd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
