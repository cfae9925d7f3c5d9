"""The kinds of inputs to verbs of FUSAR-KLIP."""

import shutil
from pathlib import Path
from random import Random

from tests.fuzz.material import Material
from tests.fuzz.mutations import HEADER, TEXTS, change_file, changed_bytes
from tests.fuzz.trial import Lost, check_there, rows_of, tell


def pictures(random: Random, material: Material, place: Path) -> None:
    """Words or labels that nobody would use, and a damaged picture in a folder of good ones."""
    model = ["--model", str(material.klip)]
    said = "".join(random.choice((*TEXTS, "ships", "water", ",", " ")) for _ in range(random.randrange(1, 5)))
    verb = random.choice(("embed", "search", "classify"))
    if verb == "classify":
        scene = [str(material.harbour), "--no-prior", "--tile", "48", "--no-quicklook"]
        prompt = [f"--prompt={random.choice(TEXTS)}"] if random.random() < 0.3 else []
        tell(["classify", *scene, f"--labels={said}", *prompt, *model, "--out", str(place / "out.json")])
    elif verb == "search":
        query = [f"--image={place / 'query.png'}"]
        if random.random() < 0.5:
            query = [said] if not said.startswith("-") else ["--", said]
        source = random.choice(sorted(material.pictures.iterdir()))
        (place / "query.png").write_bytes(changed_bytes(random, source.read_bytes(), 200))
        tell(["search", "--in", str(material.features), "--out", str(place / "found"), *model, *query])
    else:
        images = place / "images"
        images.mkdir()
        for name in ("colour.png", "grey.jpg"):
            shutil.copy(material.pictures / name, images)
        bad = random.choice(sorted(material.pictures.iterdir()))
        (images / f"z{bad.suffix}").write_bytes(changed_bytes(random, bad.read_bytes(), 200))
        out = place / "features.parquet"
        check_there(tell(["embed", str(images), *model, "--out", str(out)]), rows_of(out), {"colour.png", "grey.jpg"})


def model(random: Random, material: Material, place: Path) -> None:
    """A model folder with one file changed or gone, as verbs load it."""
    changed = place / "model"
    shutil.copytree(material.klip, changed)
    change_file(random, changed)
    verb = random.choice(("embed", "search", "classify"))
    line = {
        "embed": [str(material.pictures / "grey.png"), "--out", str(place / "features.parquet")],
        "search": ["ships", "--in", str(material.pictures), "--out", str(place / "found")],
        "classify": [str(material.harbour), "--no-prior", "--labels=water,ships", "--out", str(place / "out.json")],
    }[verb]
    tell([verb, *line, "--model", str(changed)])


def features(random: Random, material: Material, place: Path) -> None:
    """Vectors of which some bytes are changed."""
    changed = place / "features.parquet"
    content = material.features.read_bytes()
    changed.write_bytes(changed_bytes(random, content, random.choice((200, HEADER, len(content)))))
    said = tell(["search", "ships", "--in", str(changed), "--model", str(material.klip), "--top", "2"])
    if said.code == 0 and not said.out.strip():
        raise Lost(f"nothing was found, and nothing said\n{said.err}")
