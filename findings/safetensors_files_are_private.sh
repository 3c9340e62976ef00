#!/usr/bin/env bash
# A checkpoint written by safetensors 0.8 can be read by its owner alone, and a link is replaced instead of followed.
#
# safetensors 0.8.0 for PyTorch: save_file writes to a hidden file beside the target (.tmp and six letters) and renames it
# over the target. That file is made for its owner only, so the checkpoint has the mode 0600 whatever the umask and
# whatever the mode of the file that stood there before; a symbolic link at the target (from a run's folder to a larger
# disk, say) becomes a file of its own, and the disk it led to keeps the old weights; a hard link comes apart. A process
# that is killed meanwhile leaves the hidden file, as large as the checkpoint, and no later save_file removes it.
# With 0.5.3 the same lines gave 0644 under the umask 022, followed the link and wrote into the file itself.
#
# Good guesses that are wrong: that save_file treats a path as open(path, "wb") and torch.save(..., path) do (they follow
# links and obey the umask), so that whoever shares a folder can read the weights; and that a folder of checkpoints holds
# only files that somebody named.
# The way round: write the bytes of safetensors.torch.save yourself.
#
# Prints the versions and what was seen; ends with 1 once 0.8.0's way is no longer seen, or 0.5.3's is not as said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
cat > "$folder/seen.py" <<'PYTHON'
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

os.umask(0o022)
with tempfile.TemporaryDirectory() as folder:
    place = Path(folder)
    save_file({"weight": np.zeros(3)}, place / "new")
    (place / "shared").touch(0o664)
    save_file({"weight": np.zeros(3)}, place / "shared")
    (place / "disk").touch()
    (place / "link").symlink_to("disk")
    save_file({"weight": np.zeros(3)}, place / "link")
    print(
        f"safetensors {version('safetensors')}: a new file {(place / 'new').stat().st_mode & 0o777:04o}, ",
        f"over a file of 0644 {(place / 'shared').stat().st_mode & 0o777:04o}, ",
        f"the link {'is still there' if (place / 'link').is_symlink() else 'is gone'}, ",
        f"the file it led to has {(place / 'disk').stat().st_size} bytes",
        sep="",
    )
PYTHON
seen() {
    "$folder/env/bin/python" -m pip install --quiet "safetensors==$1" numpy==2.3.5
    "$folder/env/bin/python" "$folder/seen.py" | tee "$folder/said"
    grep -qxF "$2" "$folder/said"
}
seen 0.5.3 "safetensors 0.5.3: a new file 0644, over a file of 0644 0644, the link is still there, the file it led to has 96 bytes"
seen 0.8.0 "safetensors 0.8.0: a new file 0600, over a file of 0644 0600, the link is gone, the file it led to has 0 bytes"
